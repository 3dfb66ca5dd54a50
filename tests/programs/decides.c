/* Decides on every open in DIRECTORY (fanotify(7)), where its child opens `in` and runs
   `script`: decides DIRECTORY. Ends as the child ends. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(const char *directory)
{
    int status;
    if (chdir(directory) != 0 || close(open("in", O_RDONLY)) != 0)
        return 3;
    if (fork() == 0) {
        execl("./script", "script", NULL);
        _exit(4);
    }
    wait(&status);
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    int status, decisions = fanotify_init(FAN_CLASS_CONTENT | FAN_NONBLOCK, O_RDONLY);
    unsigned mask = FAN_OPEN_PERM | FAN_EVENT_ON_CHILD;
    if (argc != 2 || fanotify_mark(decisions, FAN_MARK_ADD, mask, AT_FDCWD, argv[1]) != 0) {
        perror("fanotify");
        return 2;
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(argv[1]));
    while (waitpid(pid, &status, WNOHANG) != pid) {
        struct fanotify_event_metadata events[16], *event = events;
        ssize_t length = read(decisions, events, sizeof events);
        for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) {
            struct fanotify_response allow = {event->fd, FAN_ALLOW};
            write(decisions, &allow, sizeof allow);
            /* An open of its own, which a supervisor hears of before it decides again. */
            close(open("/etc/passwd", O_RDONLY));
            close(event->fd);
        }
        usleep(1000);
    }
    return WEXITSTATUS(status);
}
