#!/bin/sh
# Makes a small package archive for the lab, which has no way out: FOLDER/raspbian/… with what a
# deployment may install, for the virtual Pi's architecture. FOLDER holds `sources.list`, what this
# machine's own package sources are. Needs apt and dpkg-dev.
set -eu
RECIPE=$(cd "$(dirname "$0")" && pwd)
cd "$1"
folder=$(pwd)
export LC_ALL=C.UTF-8
begun=$(date +%s)

# An apt of its own: nothing of this machine's is touched, and nothing counts as installed.
mkdir -p apt/lists/partial apt/archives/partial apt/etc/apt.conf.d apt/etc/preferences.d
: > apt/status
cat > apt/conf <<CONF
Dir "$folder/apt";
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt";
Dir::Cache::archives "$folder/apt/archives";
Dir::Etc "$folder/apt/etc";
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
APT::Architecture "armhf";
APT::Architectures { "armhf"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
export APT_CONFIG="$folder/apt/conf"
apt-get -qq update
# shellcheck disable=SC2046
apt-get -qq --yes --download-only install $(grep -v '^#' "$RECIPE/mirror-packages")

# As a distribution lays it out, so that a rule on origins has something to match.
root=raspbian
mkdir -p "$root/pool" "$root/dists/bookworm/main/binary-armhf"
mv apt/archives/*.deb "$root/pool/"
cd "$root"
dpkg-scanpackages --multiversion pool 2>/dev/null > dists/bookworm/main/binary-armhf/Packages
gzip -9 --keep dists/bookworm/main/binary-armhf/Packages
cd dists/bookworm
{
    printf 'Origin: Raspbian\nLabel: Raspbian\nSuite: stable\nCodename: bookworm\n'
    printf 'Date: %s\n' "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')"
    printf 'Architectures: armhf\nComponents: main\nSHA256:\n'
    find main -type f | while read -r file; do
        printf ' %s %s %s\n' "$(sha256sum "$file" | cut -d' ' -f1)" "$(stat -c %s "$file")" "$file"
    done
} > Release
cd "$folder"
rm -rf apt
echo "  $(( $(date +%s) - begun )) s: $(find "$root/pool" -name '*.deb' | wc -l) packages for the lab's mirror"
