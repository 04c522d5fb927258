/* Room for open files, for our own work at the end of a program that has left none: what tells a failure is imported
   then, and written. The soft limit of the process is raised meanwhile, up to the hard one. */

#ifndef NARRATIVE_FILES_H
#define NARRATIVE_FILES_H

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>

#define FILES_NEEDED 8 /* at a time: a module, the dump, the store with its log and its index */
#define FILES_MORE 64

static rlim_t files_before; /* the program's soft limit, while `files_given` is not 0 */
static rlim_t files_given;  /* ours */

/* The limit below which so many descriptors are free; 0 where there are not so many below `end`. None is taken for it:
   it might be the one that the program wants just now. */
static rlim_t files_limit(rlim_t end, int wanted) {
    for (rlim_t file = 0; file < end && file < INT_MAX; file++)
        if (fcntl((int)file, F_GETFD) < 0 && errno == EBADF && --wanted == 0)
            return file + 1;
    return 0;
}

static PyObject *files_lack(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    struct rlimit limit;
    return PyBool_FromLong(getrlimit(RLIMIT_NOFILE, &limit) == 0 && !files_limit(limit.rlim_cur, FILES_NEEDED));
}

static PyObject *files_more(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    struct rlimit limit;
    if (files_given || getrlimit(RLIMIT_NOFILE, &limit) != 0 || files_limit(limit.rlim_cur, FILES_NEEDED))
        Py_RETURN_FALSE;
    rlim_t before = limit.rlim_cur, wanted = files_limit(limit.rlim_max, FILES_MORE);
    limit.rlim_cur = wanted ? wanted : limit.rlim_max;
    if (limit.rlim_cur <= before || setrlimit(RLIMIT_NOFILE, &limit) != 0)
        Py_RETURN_FALSE;
    files_before = before;
    files_given = limit.rlim_cur;
    Py_RETURN_TRUE;
}

/* Sets the limit back, unless the program has set another one. What is open stays open. */
static void files_give_back(void) {
    struct rlimit limit;
    if (files_given && getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == files_given) {
        limit.rlim_cur = files_before;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    files_given = 0;
}

static PyObject *files_fewer(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    files_give_back();
    Py_RETURN_NONE;
}

#endif
