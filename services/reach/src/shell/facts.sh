# What a machine is: processors, memory, disks, addresses, system, kernel, virtualisation. By what it has itself.
# shellcheck shell=sh disable=SC2154
say hostname "$(hostname 2>/dev/null || uname -n)"
say kernel "$(uname -s)"
say release "$(uname -r)"
say machine "$(uname -m)"
for file in /etc/os-release /usr/lib/os-release; do
    [ -r "$file" ] || continue
    for name in ID PRETTY_NAME VERSION_ID; do
        say "os_$name" "$(sed -n "s/^$name=//p" "$file" | sed -e '1q' | sed -e 's/^["'\'']//' -e 's/["'\'']$//')"
    done
    break
done
cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null || grep -c '^processor' /proc/cpuinfo 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null)
say cpus "$cpus"
say cpu_model "$(sed -n -e 's/^model name[^:]*: *//p' -e 's/^Model[^:]*: *//p' /proc/cpuinfo 2>/dev/null | sed -e '1q')"
awk '/^MemTotal:/ { print "@memory\t" $2 } /^SwapTotal:/ { print "@swap\t" $2 }' /proc/meminfo 2>/dev/null
say uptime "$(cut -d. -f1 /proc/uptime 2>/dev/null)"
# what lasts: devices, shares of other machines, and whatever the root is on
df -P -k 2>/dev/null | awk 'NR > 1 && ($1 ~ /^\// || $1 ~ /:/ || $6 == "/") { print $1, $2, $3, $6 }' | while read -r device size used mount; do
    kind=$(awk -v m="$mount" '$2 == m { k = $3 } END { print k }' /proc/mounts 2>/dev/null)
    say disk "$size $used ${kind:--} $device $mount"
done
if have ip; then
    ip -o addr show 2>/dev/null | awk '$3 ~ /^inet/ { print "@address\t" $2 " " $4 }'
elif have ifconfig; then
    ifconfig -a 2>/dev/null | awk '/^[^ \t]/ { split($1, n, ":"); i = n[1] } $1 ~ /^inet/ { sub(/^addr:/, "", $2); print "@address\t" i " " $2 }'
else
    awk '/32 host/ { print "@address\t- " a } { a = $2 }' /proc/net/fib_trie 2>/dev/null | sort -u
    awk '{ a = $1; gsub(/..../, "&:", a); sub(/:$/, "", a); print "@address\t" $6 " " a }' /proc/net/if_inet6 2>/dev/null
fi
virtual=
if have systemd-detect-virt; then
    virtual=$(systemd-detect-virt 2>/dev/null)
fi
if [ -z "$virtual" ] || [ "$virtual" = none ]; then
    hardware=$(cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name 2>/dev/null)
    if [ -e /.dockerenv ]; then virtual=docker
    elif [ -e /run/.containerenv ]; then virtual=podman
    elif [ -n "${container:-}" ]; then virtual=$container
    else
        case $hardware in
            *QEMU* | *KVM*) virtual=kvm ;;
            *VMware*) virtual=vmware ;;
            *VirtualBox* | *innotek*) virtual=oracle ;;
            *Microsoft*Virtual*) virtual=microsoft ;;
            *Xen*) virtual=xen ;;
            *Amazon\ EC2*) virtual=amazon ;;
            *Google*) virtual=google ;;
            *Firecracker*) virtual=firecracker ;;
            *) if grep -q '^flags.* hypervisor' /proc/cpuinfo 2>/dev/null; then virtual=vm; else virtual=${virtual:-none}; fi ;;
        esac
    fi
fi
say virtualisation "$virtual"
say 'done' yes
