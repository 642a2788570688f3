# What is true of $account: its entry, its shell, its home with modes and owners, its password, what sshd thinks.
# shellcheck shell=sh disable=SC2154
look() {
    seen=$(as_root_or_me ls -ldn "$2" 2>&1)
    case $seen in
        [-dlbcps][-r][-w]*)
            set -- "$1" $seen
            say "$1" "$2 $4 $5"
            ;;
        *[Nn]o\ such*) say "$1" missing ;;
        *) say "$1" "unknown $seen" ;;
    esac
}
account_state() {
    entry=$(getent passwd "$account" 2>/dev/null || awk -F: -v a="$account" '$1 == a' /etc/passwd 2>/dev/null)
    say entry "$entry"
    [ -n "$entry" ] || return 0
    home=$(printf '%s' "$entry" | cut -d: -f6)
    shell=$(printf '%s' "$entry" | cut -d: -f7)
    if [ -z "$shell" ]; then
        shell=/bin/sh
    fi
    if [ ! -e "$shell" ]; then
        say shell missing
    elif [ ! -x "$shell" ]; then
        say shell not_executable
    else
        say shell present
    fi
    say account_groups "$(id -Gn "$account" 2>/dev/null)"
    look home "$home"
    look ssh "$home/.ssh"
    look keys "$home/.ssh/authorized_keys"
    # the hash stays here: only what kind of entry it is, and the dates
    as_root cat /etc/shadow 2>/dev/null | awk -F: -v a="$account" '$1 == a {
        kind = "set"
        if ($2 == "") kind = "empty"; else if (substr($2, 1, 1) == "!") kind = "locked"; else if ($2 ~ /^\*/) kind = "none"
        printf "@shadow\t%s %s %s %s\n", kind, ($3 == "" ? "-" : $3), ($5 == "" ? "-" : $5), ($8 == "" ? "-" : $8)
    }'
    set -- ${SSH_CONNECTION:-127.0.0.1}
    as_root sshd -T -C "user=$account,host=$1,addr=$1" 2>/dev/null | awk '
        $1 ~ /^(allowusers|denyusers|allowgroups|denygroups|permitrootlogin|passwordauthentication|pubkeyauthentication|authorizedkeysfile|strictmodes|forcecommand|usedns|usepam|maxstartups|maxsessions|maxauthtries)$/ {
            printf "@sshd\t%s\n", $0
        }'
}
