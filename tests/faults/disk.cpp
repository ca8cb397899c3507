// Preloaded into a process and all that it starts, it notes every call that changes a file under the roots, and lets
// one of them fail, or kills the process in it. What is to happen stands in memory that all these processes share;
// disk.py has the other end.
//
// The calls are those of the C library, which is where Python, OpenCV, libstdc++ and compilers meet; stdio calls the
// kernel from within the library, so opening and writing of its streams are here as well. That none is forgotten shows
// in the tests: a file that has changed without a note is an error.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const int kRoots = 4, kPath = 1024;

// The same fields are in disk.py.
struct Control {
    int armed;   // 0: calls are only noted
    int fault;   // an errno; 0: SIGKILL
    int at;      // which of the calls that fit, from 1
    int stays;   // the fault stays, as with a full disk, for all that lies under the same root
    int leader;  // 0: whoever makes the call; else this process alone
    int seen;    // calls that fitted so far
    int fired;
    int root;  // of the call that failed
    char operation[16];
    char pattern[kPath];  // of the path, as for fnmatch
    char log[kPath];
    char roots[kRoots][kPath];
};

enum Verdict { kPass, kFail, kHalf };

static Control* control() {
    static Control* found = nullptr;
    static bool looked = false;
    if (!looked) {
        looked = true;
        const char* file = getenv("FAULTS_CONTROL");
        int descriptor = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC) : -1;
        if (descriptor >= 0) {
            void* memory = mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
            if (memory != MAP_FAILED) found = static_cast<Control*>(memory);
            syscall(SYS_close, descriptor);
        }
    }
    return found;
}

static int root_of(const Control* control, const char* path) {
    for (int i = 0; i < kRoots; i++) {
        size_t length = strlen(control->roots[i]);
        if (length && !strncmp(path, control->roots[i], length) && (path[length] == '/' || !path[length])) return i;
    }
    return -1;
}

static void note(const Control* control, const char* operation, const char* path) {
    char line[kPath + 64];
    int length = snprintf(line, sizeof line, "%d\t%s\t%s\n", (int)getpid(), operation, path);
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, control->log, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (descriptor < 0) return;
    syscall(SYS_write, descriptor, line, (size_t)length);
    syscall(SYS_close, descriptor);
}

static Verdict verdict(const char* operation, const char* path, bool takes_room) {
    Control* c = control();
    int root = c ? root_of(c, path) : -1;
    if (root < 0) return kPass;
    note(c, operation, path);
    if (!c->armed) return kPass;
    if (c->fired) {
        if (!c->stays || root != c->root || (c->fault == ENOSPC && !takes_room)) return kPass;
        errno = c->fault;
        return kFail;
    }
    if ((c->leader && c->leader != getpid()) || strcmp(operation, c->operation) ||
        fnmatch(c->pattern, path, FNM_PATHNAME))
        return kPass;
    if (__sync_add_and_fetch(&c->seen, 1) != c->at) return kPass;
    c->root = root;
    c->fired = 1;
    // A disk that fills up takes the beginning of a write; a kill may come in the midst of one.
    if (!strcmp(operation, "write") && (c->fault == ENOSPC || c->fault == 0)) return kHalf;
    if (!c->fault) kill(getpid(), SIGKILL);
    errno = c->fault;
    return kFail;
}

static void path_of_descriptor(int descriptor, char* path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, (size_t)kPath - 1);
    path[length > 0 ? length : 0] = 0;
}

static void absolute(int folder, const char* name, char* path) {
    path[0] = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            long length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", path, (size_t)kPath - 1);
            path[length > 0 ? length : 0] = 0;
        } else {
            path_of_descriptor(folder, path);
        }
        strncat(path, "/", kPath - strlen(path) - 1);
    }
    strncat(path, name, kPath - strlen(path) - 1);
}

static bool fails(const char* operation, int folder, const char* name, bool takes_room) {
    int kept = errno;
    char path[kPath];
    absolute(folder, name, path);
    if (verdict(operation, path, takes_room) != kPass) return true;
    errno = kept;
    return false;
}

static bool exists(int folder, const char* name) { return !syscall(SYS_faccessat, folder, name, F_OK); }

static int opened(int folder, const char* name, int flags, mode_t mode) {
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && name) {
        int kept = errno;
        bool is_new = (flags & O_CREAT) && !exists(folder, name);
        errno = kept;
        if (fails("open", folder, name, is_new)) return -1;
    }
    return (int)syscall(SYS_openat, folder, name, flags, mode);
}

#define MODE_OF(flags)                         \
    mode_t mode = 0;                           \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {   \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode = (mode_t)va_arg(rest, unsigned); \
        va_end(rest);                          \
    }

extern "C" {

int open(const char* name, int flags, ...) {
    MODE_OF(flags)
    return opened(AT_FDCWD, name, flags, mode);
}

int open64(const char* name, int flags, ...) {
    MODE_OF(flags)
    return opened(AT_FDCWD, name, flags, mode);
}

int openat(int folder, const char* name, int flags, ...) {
    MODE_OF(flags)
    return opened(folder, name, flags, mode);
}

int openat64(int folder, const char* name, int flags, ...) {
    MODE_OF(flags)
    return opened(folder, name, flags, mode);
}

int __open_2(const char* name, int flags) { return opened(AT_FDCWD, name, flags, 0); }
int __open64_2(const char* name, int flags) { return opened(AT_FDCWD, name, flags, 0); }

int creat(const char* name, mode_t mode) { return opened(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }

typedef FILE* (*Opener)(const char*, const char*);

static FILE* stream_of(const char* symbol, const char* name, const char* mode) {
    if (strpbrk(mode, "wa+") && fails("open", AT_FDCWD, name, !exists(AT_FDCWD, name))) return nullptr;
    return reinterpret_cast<Opener>(dlsym(RTLD_NEXT, symbol))(name, mode);
}

FILE* fopen(const char* name, const char* mode) { return stream_of("fopen", name, mode); }
FILE* fopen64(const char* name, const char* mode) { return stream_of("fopen64", name, mode); }

static Verdict of_descriptor(const char* operation, int descriptor, bool takes_room) {
    int kept = errno;
    char path[kPath];
    path_of_descriptor(descriptor, path);
    Verdict found = verdict(operation, path, takes_room);
    if (found != kFail) errno = kept;
    return found;
}

static ssize_t written(int descriptor, const void* data, size_t size, off_t at) {
    Verdict found = of_descriptor("write", descriptor, true);
    if (found == kFail) return -1;
    if (found == kHalf) size /= 2;
    ssize_t done =
        at < 0 ? syscall(SYS_write, descriptor, data, size) : syscall(SYS_pwrite64, descriptor, data, size, at);
    if (found == kHalf && !control()->fault) kill(getpid(), SIGKILL);
    if (found == kHalf && !size) {
        errno = control()->fault;
        return -1;
    }
    return done;
}

ssize_t write(int descriptor, const void* data, size_t size) { return written(descriptor, data, size, -1); }

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t at) { return written(descriptor, data, size, at); }

ssize_t pwrite64(int descriptor, const void* data, size_t size, off_t at) {
    return written(descriptor, data, size, at);
}

ssize_t writev(int descriptor, const struct iovec* parts, int count) {
    char path[kPath];
    path_of_descriptor(descriptor, path);
    if (!control() || root_of(control(), path) < 0) return syscall(SYS_writev, descriptor, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = written(descriptor, parts[i].iov_base, parts[i].iov_len, -1);
        if (done < 0) return total ? total : -1;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

ssize_t sendfile(int out, int in, off_t* offset, size_t size) {
    Verdict found = of_descriptor("write", out, true);
    if (found == kFail) return -1;
    ssize_t done = syscall(SYS_sendfile, out, in, offset, found == kHalf ? (size + 1) / 2 : size);
    if (found == kHalf && !control()->fault) kill(getpid(), SIGKILL);
    return done;
}

ssize_t sendfile64(int out, int in, off_t* offset, size_t size) { return sendfile(out, in, offset, size); }

size_t fwrite(const void* data, size_t size, size_t count, FILE* stream) {
    typedef size_t (*Writer)(const void*, size_t, size_t, FILE*);
    static Writer real = reinterpret_cast<Writer>(dlsym(RTLD_NEXT, "fwrite"));
    Verdict found = of_descriptor("write", fileno(stream), true);
    if (found == kFail) return 0;
    if (found == kHalf) count /= 2;
    size_t done = real(data, size, count, stream);
    if (found == kHalf && !control()->fault) {
        fflush(stream);
        kill(getpid(), SIGKILL);
    }
    if (found == kHalf) errno = control()->fault;
    return done;
}

int fsync(int descriptor) {
    return of_descriptor("fsync", descriptor, false) == kPass ? (int)syscall(SYS_fsync, descriptor) : -1;
}

int fdatasync(int descriptor) {
    return of_descriptor("fsync", descriptor, false) == kPass ? (int)syscall(SYS_fdatasync, descriptor) : -1;
}

int ftruncate(int descriptor, off_t size) {
    return of_descriptor("truncate", descriptor, false) == kPass ? (int)syscall(SYS_ftruncate, descriptor, size) : -1;
}

int ftruncate64(int descriptor, off_t size) { return ftruncate(descriptor, size); }

int truncate(const char* name, off_t size) {
    return fails("truncate", AT_FDCWD, name, false) ? -1 : (int)syscall(SYS_truncate, name, size);
}

int rename(const char* from, const char* to) {
    return fails("rename", AT_FDCWD, to, false) ? -1 : (int)syscall(SYS_rename, from, to);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
    return fails("rename", to_folder, to, false) ? -1 : (int)syscall(SYS_renameat, from_folder, from, to_folder, to);
}

int link(const char* from, const char* to) {
    return fails("rename", AT_FDCWD, to, true) ? -1 : (int)syscall(SYS_link, from, to);
}

int symlink(const char* from, const char* to) {
    return fails("rename", AT_FDCWD, to, true) ? -1 : (int)syscall(SYS_symlink, from, to);
}

int mkdir(const char* name, mode_t mode) {
    return fails("mkdir", AT_FDCWD, name, true) ? -1 : (int)syscall(SYS_mkdir, name, mode);
}

int mkdirat(int folder, const char* name, mode_t mode) {
    return fails("mkdir", folder, name, true) ? -1 : (int)syscall(SYS_mkdirat, folder, name, mode);
}

int unlink(const char* name) { return fails("unlink", AT_FDCWD, name, false) ? -1 : (int)syscall(SYS_unlink, name); }

int unlinkat(int folder, const char* name, int flags) {
    return fails("unlink", folder, name, false) ? -1 : (int)syscall(SYS_unlinkat, folder, name, flags);
}

int rmdir(const char* name) { return fails("unlink", AT_FDCWD, name, false) ? -1 : (int)syscall(SYS_rmdir, name); }
}
