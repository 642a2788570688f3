//! What may root inside an environment do? The same on every engine.

/// What the sentry, sshd and sudo need; everything else is dropped.
pub const CAPABILITIES: [&str; 10] = [
    "AUDIT_WRITE",      // sshd and sudo write to the audit log, where the kernel has one
    "CHOWN",            // the sentry gives the mounted folders to the account; terminals change owner
    "DAC_OVERRIDE",     // root inside reads and writes the account's files
    "FOWNER",           // and sets their modes
    "FSETID",           // and keeps set-group bits of shared folders
    "KILL",             // the sentry ends sessions of the account
    "NET_BIND_SERVICE", // port 22
    "SETGID",           // sshd becomes the account's groups
    "SETUID",           // sshd becomes the account; sudo becomes root
    "SYS_CHROOT",       // sshd locks its unprivileged part into an empty folder
];
