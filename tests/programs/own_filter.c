/* Installs seccomp filters of its own: own_filter errno|trap|listener|trace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void trapped(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    char text[] = "trapped: call ..\n";
    text[14] = '0' + info->si_syscall / 10 % 10;
    text[15] = '0' + info->si_syscall % 10;
    if (write(1, text, sizeof text - 1) < 0)
        _exit(3);
}

static void say(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    int listens = !strcmp(how, "listener");
    unsigned action = !strcmp(how, "errno")  ? SECCOMP_RET_ERRNO | EXDEV
                      : !strcmp(how, "trap") ? SECCOMP_RET_TRAP
                      : listens              ? SECCOMP_RET_ALLOW
                                             : SECCOMP_RET_TRACE;
    /* Renames, and opens for writing only. */
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rename, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_WRONLY, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct sigaction action_of_trap = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action_of_trap, NULL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!strcmp(how, "trap"))
        say("prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    else
        say("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                               listens ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &program));
    if (strcmp(how, "trace")) {
        int fd = open("in", O_RDONLY);
        say("read", fd);
        close(fd);
        errno = 0;
        fd = open("out", O_WRONLY | O_CREAT, 0644);
        say("write", fd);
        close(fd);
        say("rename", syscall(SYS_rename, "in", "renamed"));
    }
    return 0;
}
