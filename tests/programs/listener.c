/* Installs a seccomp listener of its own, which notifies nothing, and executes a command:
   listener [-p] CMD ARG... Nobody below it can have another; with -p nor trace. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    int forbids_ptrace = argc > 1 && strcmp(argv[1], "-p") == 0;
    /* Without -p the last instruction alone. */
    struct sock_fprog program = {forbids_ptrace ? 4 : 1, filter + (forbids_ptrace ? 0 : 3)};
    int listener;
    argv += forbids_ptrace;
    argc -= forbids_ptrace;
    if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return 2;
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                       &program);
    /* It lives as long as somebody holds it. */
    if (listener < 0 || fcntl(listener, F_SETFD, 0) != 0) {
        perror("listener");
        return 2;
    }
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
