/* How our own thread sleeps: so that a fork by C code finds it asleep, neither with the GIL nor waiting for it. A child
   in which a thread that is not there does one or the other hangs, and a program of one thread must not get to know
   that. Forks by Python end the thread before (launch/bootstrap.py). */

#ifndef NARRATIVE_NAP_H
#define NARRATIVE_NAP_H

#include "memory.h"

#define LONGEST_WORK_US 2000000u /* for which a fork waits */
#define LOOK_US 100u

static atomic_int is_awake;   /* our thread has the GIL, or is about to */
static atomic_int is_forking; /* how many do, in C */
static int python_forks;      /* our thread was ended before, and the GIL must stay where it is */

/* A lock on which our thread sleeps, with the methods of `_thread.lock` that it needs. */
typedef struct {
    PyObject_HEAD
    PyThread_type_lock lock;
} Nap;

static PyTypeObject *nap_type;

/* Without the GIL. */
static int nap_wait(PyThread_type_lock lock, PY_TIMEOUT_T microseconds) {
    atomic_store(&is_awake, 0);
    int is_woken = PyThread_acquire_lock_timed(lock, microseconds, 0) == PY_LOCK_ACQUIRED;
    atomic_store(&is_awake, 1);
    while (atomic_load(&is_forking)) { /* whoever forks has looked, or is about to */
        atomic_store(&is_awake, 0);
        usleep(LOOK_US);
        atomic_store(&is_awake, 1);
    }
    return is_woken;
}

static PyObject *nap_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(keywords)) {
    Nap *self = (Nap *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->lock = PyThread_allocate_lock();
    if (self->lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void nap_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (((Nap *)self)->lock != NULL) {
        PyThread_free_lock(((Nap *)self)->lock);
        atomic_store(&is_awake, 0); /* the thread is over, or was never begun */
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *nap_acquire(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"timeout", NULL};
    double seconds = -1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|d:acquire", names, &seconds))
        return NULL;
    PY_TIMEOUT_T microseconds = seconds < 0 ? -1 : (PY_TIMEOUT_T)(seconds * 1e6);
    int is_woken;
    Py_BEGIN_ALLOW_THREADS
    is_woken = nap_wait(((Nap *)self)->lock, microseconds);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(is_woken);
}

/* The thread is about to end, and does nothing any more. */
static PyObject *nap_end(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    atomic_store(&is_awake, 0);
    Py_RETURN_NONE;
}

static PyObject *nap_release(PyObject *self, PyObject *Py_UNUSED(none)) {
    PyThread_release_lock(((Nap *)self)->lock);
    Py_RETURN_NONE;
}

static PyMethodDef nap_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))nap_acquire, METH_VARARGS | METH_KEYWORDS, NULL},
    {"release", nap_release, METH_NOARGS, NULL},
    {"end", nap_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot nap_slots[] = {
    {Py_tp_new, nap_new},
    {Py_tp_dealloc, nap_dealloc},
    {Py_tp_methods, nap_methods},
    {0, NULL},
};

static PyType_Spec nap_spec = {
    .name = "narrative_auto.recorder._native.Nap",
    .basicsize = sizeof(Nap),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = nap_slots,
};

/* Whether the calling thread has the GIL. Up to CPython 3.11 the current thread's state is that of whoever has it. */
static int has_gil(void) {
    PyThreadState *own = PyGILState_GetThisThreadState();
    return own != NULL && own == thread_state();
}

static void nap_before_fork(void) {
    if (python_forks)
        return;
    atomic_fetch_add(&is_forking, 1);
    if (!atomic_load(&is_awake))
        return;
    PyThreadState *state = has_gil() ? PyEval_SaveThread() : NULL; /* it may be waiting for the GIL */
    for (uint32_t waited = 0; atomic_load(&is_awake) && waited < LONGEST_WORK_US; waited += LOOK_US)
        usleep(LOOK_US);
    if (state != NULL)
        PyEval_RestoreThread(state);
}

static void nap_in_parent(void) {
    if (!python_forks)
        atomic_fetch_sub(&is_forking, 1);
}

static void nap_in_child(void) {
    atomic_store(&is_forking, 0);
    atomic_store(&is_awake, 0); /* the thread is the parent's */
}

#endif
