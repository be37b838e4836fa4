#!/bin/bash
# The lab's screen and keyboard on the virtual Pi: runs as root what comes in on a line of its own,
# `NUMBER SECONDS BASE64`, and answers with lines that begin with that number: `NUMBER o BASE64`
# for what was said, `NUMBER e CODE` at the end. It works when no network does.
until [ -c /dev/vport0p1 ]; do sleep 0.2; done
exec 0<> /dev/vport0p1 1>&0
while read -r number seconds script; do
    [[ $number =~ ^[0-9]+$ && $seconds =~ ^[0-9]+$ ]] || continue
    printf '%s\n' "$script" | base64 -d > /run/lab-console.sh 2>/dev/null
    timeout --kill-after=2 "$seconds" bash /run/lab-console.sh < /dev/null > /run/lab-console.out 2>&1
    code=$?
    base64 -w 1024 /run/lab-console.out | while read -r line; do printf '%s o %s\n' "$number" "$line"; done
    printf '%s e %s\n' "$number" "$code"
done
