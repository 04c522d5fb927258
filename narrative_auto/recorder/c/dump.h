/* A signal on which the process writes a copy of its black box, and goes on: for who cannot look at its memory, or wants
   to keep a moment. What the handler does may be done in one. The program's own handler is called after ours; where it
   puts another one, ours is put before that the next time that somebody looks (`dump_keep`). */

#ifndef NARRATIVE_DUMP_H
#define NARRATIVE_DUMP_H

#include "box.h"
#include <signal.h>

#define MOST_DUMPS 1000u

static struct {
    int number; /* 0 for none */
    struct sigaction before; /* what ours was put before */
    char folder[1000], path[1000]; /* path: up to the dump's number */
    uintptr_t pythons; /* the handler by which Python calls those of the program; 0 if it is not known */
    int is_kept;
    uint32_t count;
    dev_t device; /* what stderr was */
    ino_t inode;
    atomic_int is_ready;
    atomic_flag is_busy;
    /* In use while that is set: a handler's stack may be small. */
    char line[2200], next_path[1020];
    BoxHeader header;
} the_dump;

static int dump_bytes(int file, const void *bytes, size_t size) {
    for (const char *at = bytes, *end = at + size; at < end;) {
        ssize_t count = write(file, at, (size_t)(end - at));
        if (count < 0 && errno != EINTR)
            return 0;
        at += count > 0 ? count : 0;
    }
    return 1;
}

static void dump_say(const char *first, const char *second, const char *third) {
    const char *texts[] = {"narrative_auto: ", first, second, third, "\n"};
    struct stat status;
    size_t size = 0;
    if (fstat(2, &status) != 0 || status.st_dev != the_dump.device || status.st_ino != the_dump.inode)
        return; /* the program has put something of its own there */
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++)
        for (const char *one = texts[at]; *one && size < sizeof the_dump.line; one++)
            the_dump.line[size++] = *one;
    dump_bytes(2, the_dump.line, size);
}

/* The path of the next dump: the number, three digits, and an ending. */
static int dump_path(char *path, size_t room) {
    size_t size = strlen(the_dump.path);
    if (the_dump.count >= MOST_DUMPS || size + 8 > room)
        return 0;
    memcpy(path, the_dump.path, size);
    uint32_t number = the_dump.count++;
    for (int digit = 2; digit >= 0; digit--, number /= 10)
        path[size + (size_t)digit] = (char)('0' + number % 10);
    memcpy(path + size + 3, ".box", 5);
    return 1;
}

static void dump_write(void) {
    char *path = the_dump.next_path;
    if (the_box.count == 0) {
        dump_say("there is nothing to dump: no recorded function was called yet", "", "");
        return;
    }
    if (!dump_path(path, sizeof the_dump.next_path)) {
        dump_say("no dump was written: there are too many already, or the path is too long", "", "");
        return;
    }
    if (mkdir(the_dump.folder, 0700) != 0 && errno != EEXIST)
        dump_say("there is no folder for a dump: ", the_dump.folder, "");
    int file = is_too_large(the_box.size) ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    the_dump.header = *box_header();
    the_dump.header.state = BOX_COPY;
    the_dump.header.seen_ns = kernel_ns();
    int is_written = file >= 0 && dump_bytes(file, &the_dump.header, sizeof the_dump.header);
    for (uint32_t at = 0; at < the_box.count && is_written; at++) {
        const Segment *segment = &the_box.segments[at];
        uint64_t skipped = at == 0 ? sizeof the_dump.header : 0;
        is_written = dump_bytes(file, segment->base + skipped, segment->size - skipped);
    }
    if (file >= 0)
        close(file);
    if (!is_written && file >= 0)
        unlink(path);
    if (is_written)
        dump_say("dump written, to be read with: narrative recover ", path, "");
    else
        dump_say("the dump could not be written: ", path, "; --black-box names another folder");
}

static void on_dump_signal(int number, siginfo_t *info, void *context) {
    int fault = errno;
    if (atomic_load(&the_dump.is_ready) && !atomic_flag_test_and_set(&the_dump.is_busy)) {
        dump_write();
        atomic_flag_clear(&the_dump.is_busy);
    }
    errno = fault;
    const struct sigaction before = the_dump.before;
    if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN)
        return;
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else
        before.sa_handler(number);
}

/* Puts our handler before Python's, or where there is none; -1 where that cannot be. Another one of C code has been put
   before ours and may call it. */
static int dump_keep(void) {
    struct sigaction now;
    if (!the_dump.number)
        return 0;
    if (sigaction(the_dump.number, NULL, &now) != 0)
        return -1;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_dump_signal)
        return 0;
    int is_pythons = (uintptr_t)now.sa_handler == the_dump.pythons;
    if (the_dump.is_kept && !is_pythons && now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN)
        return 0;
    the_dump.before = now;
    the_dump.is_kept = 1;
    int is_nobodys = now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN;
    now.sa_flags = SA_SIGINFO | SA_ONSTACK | (is_nobodys ? SA_RESTART : now.sa_flags & (SA_RESTART | SA_NODEFER));
    now.sa_sigaction = on_dump_signal;
    return sigaction(the_dump.number, &now, NULL);
}

static PyObject *recorder_dump_on(PyObject *Py_UNUSED(self), PyObject *args) {
    const char *folder, *path;
    struct stat status;
    int number;
    unsigned long long pythons;
    if (!PyArg_ParseTuple(args, "iyyK:dump_on", &number, &folder, &path, &pythons))
        return NULL;
    if (strlen(folder) >= sizeof the_dump.folder || strlen(path) >= sizeof the_dump.path) {
        errno = ENAMETOOLONG;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    atomic_store(&the_dump.is_ready, 0);
    memcpy(the_dump.folder, folder, strlen(folder) + 1);
    memcpy(the_dump.path, path, strlen(path) + 1);
    the_dump.count = 0;
    if (fstat(2, &status) == 0) {
        the_dump.device = status.st_dev;
        the_dump.inode = status.st_ino;
    }
    the_dump.number = number;
    the_dump.pythons = (uintptr_t)pythons;
    if (dump_keep() != 0) {
        the_dump.number = 0;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    atomic_store(&the_dump.is_ready, 1);
    Py_RETURN_NONE;
}

/* The address of the handler of a signal. */
static PyObject *recorder_handler_of(PyObject *Py_UNUSED(self), PyObject *number) {
    struct sigaction now;
    long wanted = PyLong_AsLong(number);
    if (wanted == -1 && PyErr_Occurred())
        return NULL;
    if (sigaction((int)wanted, NULL, &now) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromUnsignedLongLong((uintptr_t)now.sa_handler);
}

#endif
