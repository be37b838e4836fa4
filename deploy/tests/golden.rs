//! The example sites' files, compared whole with those in `golden/`.
//!
//! `UPDATE_GOLDEN=1` writes them anew; what changed is then seen in the difference of a commit.
//! The passwords are fixed ones that no site has.

// Clippy knows a test by its attribute only, and not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use deploy::render::collector_files;
use deploy::{Rendered, Secrets};
use site::{Bastion, ReaderKind, Site};

/// Path below the golden folder, and content.
type Files = BTreeMap<PathBuf, String>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// An example, or the site of the tests that has everything.
fn example(name: &str) -> Site {
    let folder = match name {
        "everything" => "../site/tests/good",
        _ => "../site/examples",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let file = format!("{name}.toml");
    Site::parse(&file, &fs::read_to_string(folder.join(&file)).unwrap()).unwrap()
}

/// Git keeps no modes but the executable one, and the file must be its owner's alone.
fn secrets() -> Secrets {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.secrets.toml");
    fs::copy(golden().join("fake-passwords.toml"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Secrets::load(&path).unwrap()
}

fn only(site: &Site) -> &Bastion {
    let [bastion] = site.bastions.as_slice() else {
        panic!("the example has one bastion")
    };
    bastion
}

/// What `bastion apply` gets, as it is written to a folder, and every collector's files.
fn rendered(name: &str) -> Files {
    let (site, secrets) = (example(name), secrets());
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bastion");
    Rendered::bastion(&site, only(&site), &secrets)
        .unwrap()
        .write_to(&bundle)
        .unwrap();
    let mut files = read(folder.path());
    for reader in &site.readers {
        if reader.kind == ReaderKind::Collector {
            for file in collector_files(&site, &site.bastions, reader, &secrets).unwrap() {
                let path = Path::new(&reader.name).join(file.path.trim_start_matches('/'));
                files.insert(path, String::from_utf8(file.content).unwrap());
            }
        }
    }
    files
}

fn read(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), text);
            }
        }
    }
    files
}

#[track_caller]
fn check(name: &str) {
    let folder = golden().join(name);
    let rendered = rendered(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        for (path, content) in &rendered {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        return;
    }
    let expected = read(&folder);
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&rendered), names(&expected), "files of {name}");
    for (path, content) in &rendered {
        let Some(expected) = expected.get(path) else {
            continue;
        };
        let line = content
            .lines()
            .zip(expected.lines())
            .position(|(rendered, expected)| rendered != expected)
            .unwrap_or(content.lines().count().min(expected.lines().count()));
        assert!(
            content == expected,
            "{name}: {} differs in line {}:\n  rendered {:?}\n  golden   {:?}\n\
             if this is wanted, UPDATE_GOLDEN=1 writes it anew",
            path.display(),
            line + 1,
            content.lines().nth(line),
            expected.lines().nth(line),
        );
    }
}

#[test]
fn home_is_rendered_as_committed() {
    check("home");
}

#[test]
fn flat_is_rendered_as_committed() {
    check("flat");
}

#[test]
fn everything_is_rendered_as_committed() {
    check("everything");
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    for name in ["home", "flat", "everything"] {
        assert_eq!(rendered(name), rendered(name), "{name}");
    }
}

#[test]
fn no_password_leaves_its_own_file() {
    let (site, secrets) = (example("home"), secrets());
    for (path, content) in rendered("home") {
        for account in site::account::Account::all(&site) {
            let password = secrets.password(&account.name).unwrap().expose();
            let home = format!("{}.password", account.name);
            assert!(
                !content.contains(password) || path.file_name().unwrap() == home.as_str(),
                "{} holds the password of {}",
                path.display(),
                account.name
            );
        }
    }
}

#[test]
fn a_folder_that_exists_is_not_written_into() {
    let (site, secrets) = (example("home"), secrets());
    let folder = tempfile::tempdir().unwrap();
    let rendered = Rendered::bastion(&site, only(&site), &secrets).unwrap();
    let error = rendered.write_to(folder.path()).unwrap_err().to_string();
    assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    assert_eq!(read(folder.path()), Files::new());
}

#[test]
fn what_is_written_is_its_owners_alone() {
    let (site, secrets) = (example("home"), secrets());
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bastion");
    let rendered = Rendered::bastion(&site, only(&site), &secrets).unwrap();
    rendered.write_to(&bundle).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bundle), 0o700);
    for path in read(&bundle).keys() {
        assert_eq!(mode(&bundle.join(path)), 0o600, "{}", path.display());
    }
}
