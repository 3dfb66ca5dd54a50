/* Runs a command as on a kernel before 6.6: before_6_6 COMMAND...

   SECCOMP_IOCTL_NOTIF_SET_FLAGS, with which a supervisor asks for
   SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, fails with EINVAL, as it does there. Of every other
   call the verdict depends on the number alone, which the kernel caches. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SET_FLAGS _IOW('!', 4, unsigned long long)
#define FIELD(name) offsetof(struct seccomp_data, name)

int main(int argc, char **argv) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SET_FLAGS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (argc < 2)
        return 2;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0 &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0))
        return 126;
    execvp(argv[1], argv + 1);
    return 127;
}
