/* A library that stands before libc: its `open` serves a file that is not there, and with
   -DDLSYM it has a `dlsym` of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#ifdef DLSYM
void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    void *volatile found = real(handle, name);
    return found;
}
#else
int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    if (!real)
        real = dlsym(RTLD_NEXT, "open");
    return real(strncmp(path, "/virtual", 8) ? path : path + 8, flags, mode);
}
#endif
