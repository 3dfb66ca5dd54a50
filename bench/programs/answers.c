/* What a notification costs that is only received and answered: answers COUNT. Without
   SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (before 6.6) the kernel wakes each side on another CPU. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SET_FLAGS _IOW('!', 4, unsigned long long)
#define SYNC_WAKE_UP 1UL

/* Has getpriority(2) notified; the listener. */
static int listen_to_calls(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static double cpu(int who) {
    struct rusage used;
    getrusage(who, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e9 +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e3;
}

int main(int argc, char **argv) {
    long count = argc == 2 ? atol(argv[1]) : 0;
    int listener = count > 0 ? listen_to_calls() : -1;
    if (listener < 0)
        return 2;
    ioctl(listener, SET_FLAGS, SYNC_WAKE_UP);
    pid_t child = fork();
    if (child == 0) {
        close(listener);
        for (long left = count; left > 0; left--)
            syscall(SYS_getpriority, 0, 0);
        _exit(0);
    }
    for (long left = count; left > 0; left--) {
        struct seccomp_notif call = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
            return 1;
        struct seccomp_notif_resp answer = {
            .id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    waitpid(child, NULL, 0);
    printf("%.0f ns of CPU\n", (cpu(RUSAGE_SELF) + cpu(RUSAGE_CHILDREN)) / count);
}
