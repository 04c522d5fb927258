/* Code objects that the interpreter watches for us, and the functions that come to be.

   What a code object reports to is kept with the code object, in a slot that the interpreter reserves for the asking;
   code objects compare by structure, so no dictionary could hold it. */

#ifndef NARRATIVE_WATCHED_H
#define NARRATIVE_WATCHED_H

#include "probe.h"

#if PY_VERSION_HEX >= 0x030c0000

typedef struct {
    PyObject_HEAD
    PyObject *recorder, *disable, *meet, *foreign;
    PyObject *arm, *tool, *events; /* what switches a code object's events on; NULL where no new function is attended to */
    uint64_t serial;
    char meets_modules; /* the body of a module may be news */
    int before; /* 1 where an exception raised at the first instruction already leaves a call that has not begun */
} Monitor;

typedef struct Watched {
    uint64_t monitor; /* the serial number of the one that it belongs to */
    SiteState *state;
    PyObject *site, *recorder;
    PyObject *unwinding;    /* compared with the exception that leaves; NULL for nothing */
    int entry;              /* offset at which it starts, -1 before that was seen */
    PyObject *armed;        /* the code object, borrowed, where its start was asked for; NULL elsewhere */
    struct Watched *next, **before; /* others that wait */
} Watched;

static Py_ssize_t watched_slot = -1;
static PyTypeObject *monitor_type;
static uint64_t monitors; /* how many there were */

static void watched_free(void *slot) {
    Watched *watched = slot;
    if (watched == NULL)
        return;
    if (watched->armed != NULL) {
        *watched->before = watched->next;
        if (watched->next != NULL)
            watched->next->before = watched->before;
    }
    Py_XDECREF(watched->site);
    Py_XDECREF(watched->recorder);
    Py_XDECREF(watched->unwinding);
    free(watched);
}

static inline Watched *watched_of(const Monitor *monitor, PyObject *code) {
    void *slot = NULL;
    if (PyUnstable_Code_GetExtra(code, watched_slot, &slot) < 0)
        PyErr_Clear();
    Watched *watched = slot;
    return watched != NULL && watched->monitor == monitor->serial ? watched : NULL;
}

static Watched *monitor_keep(Monitor *self, PyObject *code, SiteState *state, PyObject *site, PyObject *unwinding) {
    Watched *watched = calloc(1, sizeof *watched);
    if (watched == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    watched->monitor = self->serial;
    watched->state = state;
    watched->site = Py_XNewRef(site);
    watched->recorder = Py_NewRef(self->recorder);
    watched->unwinding = Py_XNewRef(unwinding);
    watched->entry = -1;
    if (PyUnstable_Code_SetExtra(code, watched_slot, watched) < 0) { /* it frees what was there */
        watched_free(watched);
        return NULL;
    }
    return watched;
}

static inline int is_called(const PyCodeObject *code, const char *name) {
    return PyUnicode_CompareWithASCIIString(code->co_name, name) == 0;
}

/* A lambda, a comprehension or a dunder method, as `Scope.function` knows them. */
static int is_never_a_stage(const PyCodeObject *code) {
    Py_ssize_t length = PyUnicode_GET_LENGTH(code->co_name);
    Py_UCS4 first = length > 0 ? PyUnicode_READ_CHAR(code->co_name, 0) : 0;
    if (first != '_')
        return first == '<';
    return length >= 4 && PyUnicode_READ_CHAR(code->co_name, 1) == '_' && PyUnicode_READ_CHAR(code->co_name, length - 1) == '_'
           && PyUnicode_READ_CHAR(code->co_name, length - 2) == '_' && !is_called(code, "__init__") && !is_called(code, "__call__");
}

/* Most code that starts needs no second look: it has probes, is the body of a class, or belongs to a library. */
static int is_nothing_new(const Monitor *self, const PyCodeObject *code) {
    Py_ssize_t count = PyTuple_GET_SIZE(code->co_consts);
    if (count > 0 && PyObject_TypeCheck(PyTuple_GET_ITEM(code->co_consts, count - 1), probe_type))
        return 1;
    if (code->co_flags & CO_OPTIMIZED ? is_never_a_stage(code) : !self->meets_modules || !is_called(code, "<module>"))
        return 1;
    int foreign = PySet_Contains(self->foreign, code->co_filename);
    if (foreign < 0)
        PyErr_Clear();
    return foreign > 0;
}

/* -- functions as they come to be

   To meet all code as it starts, the interpreter has to put events into all code and take them out again, a microsecond
   for each code object of every library. A function watcher (CPython 3.12) says which functions there are, for a few
   nanoseconds each; events are then asked for where there is something to meet. No Python code runs in here: what a
   signal handler raised in it would be lost. */

static Monitor *attending; /* whom new functions are shown to; NULL for nobody */
static Watched *waiting;   /* what was armed for it and does not report */
static int function_watcher = -1;

static void set_events(Monitor *self, PyObject *code, PyObject *events) {
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *arguments[] = {self->tool, code, events};
    PyObject *done = PyObject_Vectorcall(self->arm, arguments, 3, NULL);
    if (done == NULL)
        PyErr_Clear(); /* no memory, or the tool id is not ours any more: it runs unseen */
    Py_XDECREF(done);
    PyErr_SetRaisedException(raised);
}

static void attend_to(Monitor *self, PyObject *code) {
    if (is_nothing_new(self, (PyCodeObject *)code) || watched_of(self, code) != NULL)
        return;
    Watched *watched = monitor_keep(self, code, NULL, NULL, NULL); /* so that it is not looked at again */
    if (watched == NULL) {
        PyErr_Clear();
        return;
    }
    watched->armed = code;
    watched->next = waiting;
    watched->before = &waiting;
    if (waiting != NULL)
        waiting->before = &watched->next;
    waiting = watched;
    set_events(self, code, self->events);
}

static int function_changes(PyFunction_WatchEvent event, PyFunctionObject *function, PyObject *new_value) {
    if (LIKELY(event != PyFunction_EVENT_CREATE && event != PyFunction_EVENT_MODIFY_CODE) || attending == NULL)
        return 0;
    PyObject *code = event == PyFunction_EVENT_CREATE ? function->func_code : new_value;
    if (code != NULL && PyCode_Check(code))
        attend_to(attending, code);
    return 0;
}

static PyObject *monitor_attend(PyObject *self, PyObject *args) {
    Monitor *monitor = (Monitor *)self;
    PyObject *arm, *tool, *events;
    if (!PyArg_ParseTuple(args, "OOO:attend", &arm, &tool, &events))
        return NULL;
    if (attending != NULL && attending != monitor)
        Py_RETURN_FALSE;
    if (function_watcher < 0 && (function_watcher = PyFunction_AddWatcher(function_changes)) < 0) {
        PyErr_Clear(); /* an interpreter has room for eight */
        Py_RETURN_FALSE;
    }
    Py_XSETREF(monitor->arm, Py_NewRef(arm));
    Py_XSETREF(monitor->tool, Py_NewRef(tool));
    Py_XSETREF(monitor->events, Py_NewRef(events));
    Py_XSETREF(attending, (Monitor *)Py_NewRef(self));
    Py_RETURN_TRUE;
}

static PyObject *monitor_rest(PyObject *self, PyObject *Py_UNUSED(ignored)) {
    Monitor *monitor = (Monitor *)self;
    if (attending == (Monitor *)self) {
        if (function_watcher >= 0 && PyFunction_ClearWatcher(function_watcher) < 0)
            PyErr_Clear();
        function_watcher = -1;
        PyObject *none = PyLong_FromLong(0);
        while (none != NULL && waiting != NULL) {
            PyObject *code = Py_NewRef(waiting->armed);
            int failed = PyUnstable_Code_SetExtra(code, watched_slot, NULL); /* which takes it off the list */
            if (failed == 0)
                set_events(monitor, code, none);
            Py_DECREF(code);
            if (failed < 0) {
                PyErr_Clear();
                break;
            }
        }
        Py_XDECREF(none);
        Py_CLEAR(attending);
    }
    Py_RETURN_NONE;
}

#endif
#endif
