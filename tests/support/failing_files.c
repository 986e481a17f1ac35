// Fails the n-th file operation below a folder, once. Loaded before the C library (LD_PRELOAD), so that it also sees the
// operations of compiled extensions. Counted: creating or opening for writing, write, rename, fsync, truncate, mkdir.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static atomic_long counted, failing;
static int failure;

// Start counting operations on paths that begin with `folder`; the `number`-th fails with `error`; 0: none.
void arm(const char *folder, long number, int error) {
    strncpy(below, folder, sizeof below - 1);
    failing = number;
    failure = error;
    counted = 0;
}

long operations(void) { return counted; }

static int fails(const char *path) {
    char whole[PATH_MAX * 2];
    if (!below[0] || !path) return 0;
    if (path[0] != '/') {
        char folder[PATH_MAX];
        if (!getcwd(folder, sizeof folder)) return 0;
        snprintf(whole, sizeof whole, "%s/%s", folder, path);
        path = whole;
    }
    if (strncmp(path, below, strlen(below))) return 0;
    if (++counted != failing) return 0;
    errno = failure;
    return 1;
}

static int file_fails(int file) {
    char link[64], path[PATH_MAX];
    if (!below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(flags) ((flags) & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC))

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        va_list list;                                                 \
        va_start(list, flags);                                        \
        mode_t mode = va_arg(list, mode_t);                           \
        va_end(list);                                                 \
        if (WRITES(flags) && fails(path)) return -1;                  \
        return NEXT(name)(path, flags, mode);                         \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int file, const void *content, size_t size) {
    return file_fails(file) ? -1 : NEXT(write)(file, content, size);
}
ssize_t writev(int file, const struct iovec *parts, int number) {
    return file_fails(file) ? -1 : NEXT(writev)(file, parts, number);
}
ssize_t pwrite64(int file, const void *content, size_t size, off64_t offset) {
    return file_fails(file) ? -1 : NEXT(pwrite64)(file, content, size, offset);
}
int fsync(int file) { return file_fails(file) ? -1 : NEXT(fsync)(file); }
int ftruncate64(int file, off64_t size) { return file_fails(file) ? -1 : NEXT(ftruncate64)(file, size); }
int rename(const char *from, const char *to) { return fails(to) ? -1 : NEXT(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails(path) ? -1 : NEXT(mkdir)(path, mode); }
