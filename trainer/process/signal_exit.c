/* Ends the process and its descendants at a signal; see signal_exit.py. Calls nothing but system calls. */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static char* append(char* end, const char* text) {
    while (*text) *end++ = *text++;
    *end = 0;
    return end;
}

static char* append_number(char* end, int number) {
    char digits[12];
    int count = 0;
    do digits[count++] = '0' + number % 10;
    while (number /= 10);
    while (count) *end++ = digits[--count];
    *end = 0;
    return end;
}

static void end_children(int process);

static void end_children_of_thread(char* path, char* end, const char* thread) {
    char list[4096];
    append(append(end, thread), "/children");
    int file = open(path, O_RDONLY);
    if (file < 0) return;
    int length = read(file, list, sizeof list);
    close(file);
    int child = 0;
    for (int i = 0; i < length; i++) {
        if (list[i] >= '0' && list[i] <= '9') {
            child = child * 10 + list[i] - '0';
        } else if (child) {
            end_children(child);
            kill(child, SIGTERM);
            child = 0;
        }
    }
}

/* Children are listed by the thread that made them. */
static void end_children(int process) {
    char path[96], entries[2048];
    char* end = append(append_number(append(path, "/proc/"), process), "/task/");
    int folder = open(path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) return;
    for (long length; (length = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0;) {
        for (char* entry = entries; entry < entries + length; entry += *(unsigned short*)(entry + 16)) {
            const char* name = entry + 19; /* struct linux_dirent64: inode 8, offset 8, length 2, type 1, name */
            if (*name >= '0' && *name <= '9') end_children_of_thread(path, end, name);
        }
    }
    close(folder);
}

static void leave(int number) {
    end_children(getpid());
    _exit(number == SIGINT ? 128 + SIGINT : 0);
}

void leave_at(int number) { signal(number, leave); }
