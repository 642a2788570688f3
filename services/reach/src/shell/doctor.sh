# What a support engineer would look at once somebody is in. Changes nothing, but for a file of one moment in the home.
# shellcheck shell=sh disable=SC2154
[ -n "$account" ] || account=$me
have sudo && say sudo present
say now "$(date +%s)"
say system "$(uname -sr)"
account_state
if [ -e /etc/nologin ]; then
    say nologin "$(sed 1q /etc/nologin 2>/dev/null) "
fi
if [ "$account" = "$me" ]; then
    probe="$HOME/.portreeve-probe-$$"
    if said=$( (printf '%4096s' x >"$probe") 2>&1) && [ "$(wc -c <"$probe" | tr -d ' ')" = 4096 ]; then
        say home_write works
    else
        say home_write "fails $said"
    fi
    rm -f "$probe" 2>/dev/null
fi
if [ "$root" != none ]; then
    if as_root test -w /etc; then say etc writable; else say etc read_only; fi
else
    awk '($2 == "/" || $2 == "/etc") { split($4, o, ","); state[$2] = o[1] }
        END { s = ("/etc" in state) ? state["/etc"] : state["/"]; print "@etc\t" (s == "ro" ? "read_only" : "unknown") }' /proc/mounts 2>/dev/null
fi
for place in "${home:-/}" /tmp /var /etc; do
    df -P "$place" 2>/dev/null | tail -n 1 | awk -v p="$place" '{ printf "@disk\t%s %s %s %s\n", p, $4, $5, $6 }'
done
say 'done' yes
