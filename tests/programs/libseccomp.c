/* What roar's filter should be, as libseccomp makes it from the names of calls: writes a
   program for one architecture. libseccomp ARCH SECCOMP_FILTER_FILE */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOW 0xffffffff

static scmp_filter_ctx filter;
static uint32_t arch;

/* Where the architecture has it. */
static void notify(const char *name, unsigned count, struct scmp_arg_cmp argument)
{
    /* A number of this machine's own, or one that means what others have. */
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR)
        errx(1, "%s: unknown", name);
    int error = seccomp_rule_add_array(filter, SCMP_ACT_NOTIFY, number, count, &argument);
    if (error && seccomp_syscall_resolve_name_arch(arch, name) >= 0)
        errx(1, "%s: %s", name, strerror(-error));
}

static void flags_of(const char *name, unsigned argument)
{
    int unnamed = O_TMPFILE & ~O_DIRECTORY;
    notify(name, 1, SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, unnamed, unnamed));
    notify(name, 1, SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, O_DIRECTORY | O_PATH, 0));
}

int main(int count, char **args)
{
    static const char *const always[] = {
        "openat2", "creat", "mknod", "mknodat", "rename", "renameat", "renameat2", "link",
        "linkat", "unlink", "unlinkat", "truncate", "truncate64", "execve", "execveat", "fork",
        "vfork", "clone3", "exit_group", "io_uring_setup", "setuid", "setgid", "setreuid",
        "setregid", "setgroups", "setresuid", "setresgid", "setfsuid", "setfsgid", "setuid32",
        "setgid32", "setreuid32", "setregid32", "setgroups32", "setresuid32", "setresgid32",
        "setfsuid32", "setfsgid32", "capset", "pivot_root", "chroot", "unshare", "setns", "mount",
        "umount", "umount2", "move_mount",
    };
    static const int lengths[] = {16, 24, 28, 128};
    if (count != 3)
        errx(2, "usage: libseccomp ARCH FILE");
    arch = seccomp_arch_resolve_name(args[1]);
    filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!arch || !filter || seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW))
        errx(1, "libseccomp");
    if (arch != seccomp_arch_native())
        if (seccomp_arch_add(filter, arch) || seccomp_arch_remove(filter, SCMP_ARCH_NATIVE))
            errx(1, "%s", args[1]);
    for (unsigned i = 0; i < sizeof always / sizeof *always; i++)
        notify(always[i], 0, SCMP_A0(SCMP_CMP_EQ, 0));
    flags_of("open", 1);
    flags_of("openat", 2);
    flags_of("open_by_handle_at", 2);
    notify("clone", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    notify("seccomp", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, 1)); /* SECCOMP_SET_MODE_FILTER */
    notify("prctl", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, 22)); /* PR_SET_SECCOMP */
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++)
        notify("connect", 1, SCMP_A2(SCMP_CMP_MASKED_EQ, LOW, lengths[i]));
    int fd = open(args[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || seccomp_export_bpf(filter, fd))
        err(1, "%s", args[2]);
    return 0;
}
