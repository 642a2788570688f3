# What every script here stands on: POSIX sh and the tools of POSIX, nothing installed.
# shellcheck shell=sh disable=SC2154
# Answers are lines "@key<TAB>value"; whatever else a machine prints is passed over.
# Before this come: password='...' (may be empty), account='...', want_root=yes|no
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

say() { printf '@%s\t%s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ')"; }
have() { command -v "$1" >/dev/null 2>&1; }

uid=$(id -u)
me=$(id -un)
root=none
root_said=
if [ "$uid" = 0 ]; then
    root=self
elif [ "$want_root" = yes ] && have sudo; then
    if root_said=$(sudo -n true 2>&1 </dev/null); then
        root=sudo
    elif [ -n "$password" ] && root_said=$(printf '%s\n' "$password" | sudo -S -p '' true 2>&1); then
        root=password
    fi
fi
# Runs a command as root; fails with 126 if there is no way to be root. It has nothing to read.
as_root() {
    case $root in
        self) "$@" </dev/null ;;
        sudo) sudo -n "$@" </dev/null ;;
        password) printf '%s\n' "$password" | sudo -S -p '' "$@" ;;
        *) return 126 ;;
    esac
}
# The same, as good as it gets.
as_root_or_me() { if [ "$root" = none ]; then "$@"; else as_root "$@"; fi; }
say root "$root"
say root_said "$root_said"
say uid "$uid"
say me "$me"
