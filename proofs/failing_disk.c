/* A disk that fails when it is told to: preloaded into a process, it spoils one libc call that concerns a folder.

       cc -shared -fPIC -o failing_disk.so failing_disk.c -ldl
       LD_PRELOAD=./failing_disk.so python ...   and there  ctypes.CDLL(None).failing_disk(folder, log, call, fault)

   It does nothing until `failing_disk` is called, so that one process can load everything once, fork, and let each
   fork meet another fault. For Linux with glibc, whose names these are (Python calls open64 and the like).
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { PASS = 0, DIE_AFTER = -1, HALF = -2, HALF_CLAIMING_ALL = -3 };  /* what `meet` returns besides an errno */
enum { SPACE = 1 };                                                    /* the call may find the disk full */
#define PLACE (2 * PATH_MAX)

static char folder[PATH_MAX];
static size_t folder_length;
static int log_to = -1;
static long spoiled, count;
static char fault[32];

/* Begin to count the calls below `path`; the one with the number `call` (from 1) meets the fault `what`:

       ENOSPC, EIO     it fails
       full            it and all later ones that take space fail with ENOSPC
       gone            it and all later ones fail with EIO
       short write     half is written, and it says so
       silent loss     half is written, and it claims that all was
       kill before, kill after
       power cut       killed before it, and every file that was written and not synced loses its second half

   With call 0 all go well. Each call is a line in the descriptor `log`: name, whether it takes space, paths. */
void failing_disk(const char *path, int log, long call, const char *what) {
    snprintf(folder, sizeof folder, "%s", path);
    snprintf(fault, sizeof fault, "%s", what);
    folder_length = strlen(folder);
    log_to = log;
    spoiled = call;
    count = 0;
}

/* ---- paths */

/* The absolute path of `name` as seen from the open folder `at`; of `at` itself when the name is empty. */
static void locate(int at, const char *name, char *path) {
    char link[64] = "/proc/self/cwd";
    ssize_t length = 0;
    if (name[0] != '/') {
        if (at != AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        length = readlink(link, path, PATH_MAX - 1);
        length = length < 0 ? 0 : length;
        if (name[0])
            path[length++] = '/';
    }
    snprintf(path + length, PLACE - length, "%s", name);
}

static int below(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

/* ---- files that a power cut would harm */

static int unsynced[256];  /* duplicates, because the program may close its own before the cut */
static int unsynced_count;

static int same_file(int one, int other) {
    struct stat a, b;
    return !fstat(one, &a) && !fstat(other, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void synced(int file) {
    for (int i = 0; i < unsynced_count; i++)
        if (unsynced[i] >= 0 && same_file(unsynced[i], file))
            unsynced[i] = -1;
}

static void written(int file) {
    char path[PLACE];
    if (strcmp(fault, "power cut"))
        return;
    locate(file, "", path);
    if (below(path) && unsynced_count < (int) (sizeof unsynced / sizeof *unsynced))
        unsynced[unsynced_count++] = dup(file);
}

static void lose_unsynced(void) {
    struct stat status;
    for (int i = 0; i < unsynced_count; i++)
        if (unsynced[i] >= 0 && !fstat(unsynced[i], &status) && ftruncate(unsynced[i], status.st_size / 2))
            _exit(99);  /* nobody would notice that the cut did no harm */
}

/* ---- counting */

static void note(const char *name, int takes, const char *path, const char *target) {
    char line[3 * PLACE];
    int length = snprintf(line, sizeof line, "%s\t%d\t%s%s%s\n", name, takes, path, *target ? "\t" : "", target);
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    if (real(log_to, line, length) != length)
        _exit(99);
}

/* What is to become of a call: PASS, an errno, or one of the negative values. Does the killing before it. */
static int fate(int takes) {
    if (!spoiled || count < spoiled)
        return PASS;
    if (!strcmp(fault, "full"))
        return takes == SPACE ? ENOSPC : PASS;
    if (!strcmp(fault, "gone"))
        return EIO;
    if (count > spoiled)
        return PASS;
    if (!strcmp(fault, "power cut"))
        lose_unsynced();
    if (!strcmp(fault, "power cut") || !strcmp(fault, "kill before"))
        kill(getpid(), SIGKILL);
    return !strcmp(fault, "ENOSPC") ? ENOSPC : !strcmp(fault, "EIO") ? EIO : !strcmp(fault, "kill after") ? DIE_AFTER
        : !strcmp(fault, "short write") ? HALF : !strcmp(fault, "silent loss") ? HALF_CLAIMING_ALL : PASS;
}

static int meet_two(const char *name, int takes, int at, const char *path, int to, const char *target) {
    char source[PLACE], destination[PLACE] = "";
    int before = errno, found;
    if (!folder_length)
        return PASS;
    locate(at, path, source);
    if (target)
        locate(to, target, destination);
    if (!below(source) && !(target && below(destination)))
        return errno = before, PASS;
    count++;
    note(name, takes, source, destination);
    found = fate(takes);
    errno = before;
    return found;
}

static int meet(const char *name, int takes, int at, const char *path) {
    return meet_two(name, takes, at, path, 0, NULL);
}

/* ---- the calls */

/* Find the libc's own `name`, meet the fate, make the call. */
#define CALL(type, name, signature, arguments, meeting) \
    static type (*real) signature; \
    int met = meeting; \
    if (!real) \
        real = dlsym(RTLD_NEXT, #name); \
    if (met > 0) \
        return errno = met, -1; \
    type result = real arguments; \
    if (met == DIE_AFTER) \
        kill(getpid(), SIGKILL)

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags) \
        CALL(int, name, (const char *, int, ...), (path, flags, mode), \
             meet("open", flags & O_CREAT ? SPACE : 0, AT_FDCWD, path)); \
        return result; \
    }

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        MODE(flags) \
        CALL(int, name, (int, const char *, int, ...), (at, path, flags, mode), \
             meet("open", flags & O_CREAT ? SPACE : 0, at, path)); \
        return result; \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* `size` is a variable of its own, so that half of it can be passed on. */
#define WRITE(name, label, signature, types, arguments) \
    ssize_t name signature { \
        int halved = meet(label, SPACE, file, ""); \
        size_t all = size; \
        if (halved == HALF || halved == HALF_CLAIMING_ALL) \
            size /= 2; \
        CALL(ssize_t, name, types, arguments, halved); \
        if (result > 0) \
            written(file); \
        return halved == HALF_CLAIMING_ALL && result >= 0 ? (ssize_t) all : result; \
    }

WRITE(write, "write", (int file, const void *content, size_t size), (int, const void *, size_t),
      (file, content, size))
WRITE(pwrite, "pwrite", (int file, const void *content, size_t size, off_t at), (int, const void *, size_t, off_t),
      (file, content, size, at))
WRITE(pwrite64, "pwrite", (int file, const void *content, size_t size, off64_t at),
      (int, const void *, size_t, off64_t), (file, content, size, at))

ssize_t read(int file, void *content, size_t size) {
    CALL(ssize_t, read, (int, void *, size_t), (file, content, size), meet("read", 0, file, ""));
    return result;
}

int fsync(int file) {
    CALL(int, fsync, (int), (file), meet("fsync", SPACE, file, ""));
    synced(file);
    return result;
}

int fdatasync(int file) {
    CALL(int, fdatasync, (int), (file), meet("fdatasync", SPACE, file, ""));
    synced(file);
    return result;
}

int close(int file) {
    static int (*real)(int);
    int flags = folder_length ? fcntl(file, F_GETFL) : -1;
    int wrote = flags != -1 && (flags & O_ACCMODE) != O_RDONLY;
    int met = meet("close", wrote ? SPACE : 0, file, ""), result;
    if (!real)
        real = dlsym(RTLD_NEXT, "close");
    result = real(file);  /* also when it fails: Linux frees the descriptor */
    if (met == DIE_AFTER)
        kill(getpid(), SIGKILL);
    if (met > 0 && wrote)  /* a file that was only read has nothing to fail with */
        return errno = met, -1;
    return result;
}

int rename(const char *path, const char *target) {
    CALL(int, rename, (const char *, const char *), (path, target),
         meet_two("rename", SPACE, AT_FDCWD, path, AT_FDCWD, target));
    return result;
}

int renameat(int at, const char *path, int to, const char *target) {
    CALL(int, renameat, (int, const char *, int, const char *), (at, path, to, target),
         meet_two("rename", SPACE, at, path, to, target));
    return result;
}

int renameat2(int at, const char *path, int to, const char *target, unsigned int flags) {
    CALL(int, renameat2, (int, const char *, int, const char *, unsigned int), (at, path, to, target, flags),
         meet_two("rename", SPACE, at, path, to, target));
    return result;
}

int mkdir(const char *path, mode_t mode) {
    CALL(int, mkdir, (const char *, mode_t), (path, mode), meet("mkdir", SPACE, AT_FDCWD, path));
    return result;
}

int mkdirat(int at, const char *path, mode_t mode) {
    CALL(int, mkdirat, (int, const char *, mode_t), (at, path, mode), meet("mkdir", SPACE, at, path));
    return result;
}

int unlink(const char *path) {
    CALL(int, unlink, (const char *), (path), meet("unlink", 0, AT_FDCWD, path));
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    CALL(int, unlinkat, (int, const char *, int), (at, path, flags),
         meet(flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0, at, path));
    return result;
}

int rmdir(const char *path) {
    CALL(int, rmdir, (const char *), (path), meet("rmdir", 0, AT_FDCWD, path));
    return result;
}
