/* Makes, replaces, reads and deletes the names of a directory as fast as it can:
 * race WHO ROUNDS. WHO is a letter; another process runs as another letter. Names that
 * begin with `n` are everybody's, those with a letter are written by that one alone, and
 * those with `never` do not exist. A content is WHO, a number and a newline, 16 bytes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int number;
static char who;

static void put(const char *path, int flags)
{
    char content[17];
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0666);
    if (fd < 0)
        return;
    sprintf(content, "%c%014d\n", who, number++);
    if (write(fd, content, 16) != 16)
        abort();
    close(fd);
}

static void look(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && read(fd, &byte, 1) >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    who = argv[1][0];
    char other = who == 'a' ? 'b' : 'a';
    srandom(who);
    for (int round = atoi(argv[2]); round > 0; round--) {
        char name[16], second[16], own[16], their[16], never[16], temporary[16];
        sprintf(name, "n%ld", random() % 4);
        sprintf(second, "n%ld", random() % 4);
        sprintf(own, "%c%ld", who, random() % 4);
        sprintf(their, "%c%ld", other, random() % 4);
        sprintf(never, "never%ld", random() % 4);
        sprintf(temporary, "%ctemporary", who);
        switch (random() % 16) {
        case 0: put(name, O_TRUNC); break;
        case 1: put(name, O_EXCL); break;
        case 2: put(own, O_TRUNC); break;
        case 3: put(temporary, O_EXCL), rename(temporary, name); break;
        case 4: put(temporary, O_EXCL), rename(temporary, own); break;
        case 5: unlink(name); break;
        case 6: unlink(own); break;
        case 7: rename(name, second); break;
        case 8: unlink(second), link(name, second) == 0; break;
        case 9: unlink("soft"), symlink(random() % 2 ? never : name, "soft") == 0; break;
        case 10: look("soft"); break;
        case 11: look(never), unlink(never), rename(never, name), link(never, own) == 0; break;
        case 12: look(name); break;
        default: look(their);
        }
    }
    return 0;
}
