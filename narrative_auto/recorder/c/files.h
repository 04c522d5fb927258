/* Room for open files, for our own work where the program has left none: what tells a failure is imported then, and
   written. The soft limit of the process is raised meanwhile, up to the hard one. */

#ifndef NARRATIVE_FILES_H
#define NARRATIVE_FILES_H

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILES_NEEDED 8 /* at a time: a module, the dump, the store with its log and its index */
#define FILES_MORE 64

static struct rlimit files_before; /* valid while files_given is not 0 */
static rlim_t files_given;         /* the soft limit that is ours, else 0 */

static int files_are_short(void) {
    int opened[FILES_NEEDED], count = 0, is_short = 0;
    while (count < FILES_NEEDED && !is_short) {
        int file = open("/", O_RDONLY | O_CLOEXEC);
        if (file >= 0)
            opened[count++] = file;
        else if (errno == EMFILE)
            is_short = 1;
        else
            break;
    }
    while (count > 0)
        close(opened[--count]);
    return is_short;
}

/* Whether the program has left none: what another thread of ours has got lasts as long as its work. */
static PyObject *files_lacking(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    return PyBool_FromLong(files_given || files_are_short());
}

/* Whether the limit was raised; files_fewer() is to be called then. */
static PyObject *files_more(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    struct rlimit limit;
    if (files_given || !files_are_short() || getrlimit(RLIMIT_NOFILE, &limit) != 0)
        Py_RETURN_FALSE;
    files_before = limit;
    limit.rlim_cur += FILES_MORE;
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_cur <= files_before.rlim_cur || setrlimit(RLIMIT_NOFILE, &limit) != 0)
        Py_RETURN_FALSE;
    files_given = limit.rlim_cur;
    Py_RETURN_TRUE;
}

/* Sets the limit back, unless the program has set another one. What is open stays open. */
static PyObject *files_fewer(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(none)) {
    struct rlimit limit;
    if (files_given && getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == files_given) {
        limit.rlim_cur = files_before.rlim_cur;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    files_given = 0;
    Py_RETURN_NONE;
}

#endif
