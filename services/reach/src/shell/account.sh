# Makes an account what it shall be, takes it away, or only looks. Run twice it does the same.
# shellcheck shell=sh disable=SC2154
# Variables: account, action, keys (a line each), groups, login_shell, sudo (yes, no or empty), ours, remove_home
# What is done as root stands in one text, so that one sudo does it. In the folder .ssh nobody else can change names
# meanwhile: it belongs to root for that moment, so no link of somebody's leads our hand elsewhere.
work='
fail() { printf "@failed\t%s %s\n" "$1" "$(printf "%s" "$2" | tr "\n\t" "  ")"; exit 0; }
field() { { getent passwd "$account" 2>/dev/null || awk -F: -v a="$account" "\$1 == a" /etc/passwd; } | cut -d: -f"$1"; }
sudo_file=/etc/sudoers.d/portreeve-$(printf "%s" "$account" | tr . _)
put_sudo() {
    case $sudo in
    yes)
        command -v sudo >/dev/null 2>&1 || fail sudo_missing "sudo is not installed"
        mkdir -p /etc/sudoers.d
        said=$( (umask 227; rm -f "$sudo_file.new"; printf "%s ALL=(ALL) NOPASSWD: ALL\n" "$account" >"$sudo_file.new") 2>&1) || fail disk_full "$said"
        if command -v visudo >/dev/null 2>&1 && ! said=$(visudo -cqf "$sudo_file.new" 2>&1); then
            rm -f "$sudo_file.new"
            fail sudo_refused "$said"
        fi
        mv -f "$sudo_file.new" "$sudo_file"
        ;;
    no) rm -f "$sudo_file" ;;
    esac
}
put_account() {
    if [ -z "$(field 1)" ]; then
        [ -n "$login_shell" ] || { [ -x /bin/bash ] && login_shell=/bin/bash || login_shell=/bin/sh; }
        if command -v useradd >/dev/null 2>&1; then
            said=$(useradd -m -s "$login_shell" "$account" 2>&1) || { [ -n "$(field 1)" ] || fail account_not_made "$said"; }
        else
            said=$(adduser -D -s "$login_shell" "$account" 2>&1) || fail account_not_made "$said"
        fi
        printf "@made\tyes\n"
        # no password, which is not the same as locked
        usermod -p "*" "$account" 2>/dev/null || printf "%s:*\n" "$account" | chpasswd -e 2>/dev/null
    elif [ -n "$login_shell" ] && [ "$(field 7)" != "$login_shell" ]; then
        said=$(usermod -s "$login_shell" "$account" 2>&1) || fail account_not_made "$said"
    fi
    for group in $groups; do
        said=$(usermod -aG "$group" "$account" 2>&1) || fail group_missing "$said"
    done
    uid=$(field 3)
    gid=$(field 4)
    home=$(field 6)
}
put_home() {
    case $home in
    / | /bin | /boot | /dev | /etc | /home | /lib | /nonexistent | /opt | /proc | /run | /sbin | /sys | /tmp | /usr | /usr/* | /var | "")
        fail home_unusable "the home of $account is $home, which belongs to the system" ;;
    esac
    if [ ! -e "$home" ]; then
        said=$(mkdir -p -m 700 "$home" 2>&1) || fail home_missing "$said"
    fi
    cd -P "$home" 2>/dev/null || fail home_missing "$home is no folder"
    real=$(pwd -P)
    [ "$(ls -ldn . | awk "{ print \$3 }")" = "$uid" ] || chown "$uid:$gid" . || fail wrong_owner "the owner of $home cannot be set"
    chmod go-w . || fail wrong_modes "the mode of $home cannot be set"
    if [ -L .ssh ]; then
        fail not_a_folder "$home/.ssh is a link"
    fi
    if [ ! -d .ssh ]; then
        said=$(mkdir -m 700 .ssh 2>&1) || fail disk_full "$said"
    fi
    cd -P .ssh 2>/dev/null && [ "$(pwd -P)" = "$real/.ssh" ] || fail not_a_folder "$home/.ssh leads elsewhere"
    # from here on nobody but root changes names in it
    said=$(chown 0:0 . 2>&1 && chmod 755 . 2>&1) || fail wrong_owner "$said"
}
give_home_back() { chown "$uid:$gid" . && chmod 700 .; }
put_keys() {
    if [ -L authorized_keys ] || { [ -e authorized_keys ] && [ ! -f authorized_keys ]; }; then
        give_home_back
        fail not_a_file "authorized_keys is no plain file"
    fi
    if [ -f authorized_keys ] && [ "$(ls -ln authorized_keys | awk "{ print \$2 }")" != 1 ]; then
        give_home_back
        fail not_a_file "authorized_keys has a second name elsewhere"
    fi
    new=.portreeve-$$
    rm -f "$new"
    said=$( (
        umask 077
        {
            [ ! -f authorized_keys ] || awk -v a="$marker" "index(\$0, a) == 0" authorized_keys
            printf "%s\n" "$keys" | awk -v a="$marker" "NF { print \$0 \" \" a }"
        } >"$new" && chown "$uid:$gid" "$new" && mv -f "$new" authorized_keys
    ) 2>&1) || { rm -f "$new"; give_home_back; fail disk_full "$said"; }
    chown "$uid:$gid" authorized_keys && chmod 600 authorized_keys
    give_home_back
}
marker="portreeve:$account"
test -w /etc || fail read_only "/etc cannot be written"
case $action in
push | rotate)
    put_account
    put_home
    put_keys
    put_sudo
    ;;
remove)
    [ -n "$(field 1)" ] || { sudo=no put_sudo; exit 0; }
    sudo=no
    put_sudo
    if [ "$ours" = yes ]; then
        [ "$remove_home" = yes ] && how=-r || how=
        if command -v userdel >/dev/null 2>&1; then
            said=$(userdel $how "$account" 2>&1) || { [ -z "$(field 1)" ] || fail account_in_use "$said"; }
        else
            said=$(deluser ${how:+--remove-home} "$account" 2>&1) || fail account_in_use "$said"
        fi
    else
        uid=$(field 3)
        gid=$(field 4)
        home=$(field 6)
        keys=
        [ ! -e "$home/.ssh/authorized_keys" ] || { put_home; put_keys; }
    fi
    ;;
esac
'
if [ "$action" != verify ]; then
    if [ "$root" = none ]; then
        say failed "unprivileged $me cannot become root there"
    else
        as_root env account="$account" action="$action" keys="$keys" groups="$groups" login_shell="$login_shell" \
            sudo="$sudo" ours="$ours" remove_home="$remove_home" /bin/sh -c "$work"
    fi
fi
account_state
if [ -n "${home:-}" ]; then
    marked=$(as_root_or_me cat "$home/.ssh/authorized_keys" 2>/dev/null | awk -v a="portreeve:$account" 'index($0, a)')
    printf '%s\n' "$marked" | while read -r kind body rest; do
        [ -z "$kind" ] || say marked "$kind $body"
    done
fi
say 'done' yes
