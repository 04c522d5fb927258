/* A constant of a library function that we watch: asked for its truth value, it calls a function of ours with the frame
   that asks, and is true. */

#ifndef NARRATIVE_WATCHER_H
#define NARRATIVE_WATCHER_H

#include "recorder.h"

typedef struct {
    PyObject_HEAD
    PyObject *meet;
} Watcher;

static PyTypeObject *watcher_type;

static PyObject *watcher_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"", NULL};
    PyObject *meet;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O:Watcher", names, &meet))
        return NULL;
    Watcher *self = (Watcher *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->meet = Py_NewRef(meet);
    return (PyObject *)self;
}

static void watcher_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((Watcher *)self)->meet);
    type->tp_free(self);
    Py_DECREF(type);
}

static int watcher_bool(PyObject *self) {
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    if (frame == NULL) { /* there is no memory for it */
        PyErr_Clear();
        return 1;
    }
    PyObject *result = called_untraced(((Watcher *)self)->meet, frame);
    Py_XDECREF(result);
    return result != NULL ? 1 : -1;
}

static PyType_Slot watcher_slots[] = {
    {Py_tp_new, watcher_new},
    {Py_tp_dealloc, watcher_dealloc},
    {Py_nb_bool, watcher_bool},
    {0, NULL},
};

static PyType_Spec watcher_spec = {
    .name = "narrative_auto.recorder._native.Watcher",
    .basicsize = sizeof(Watcher),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = watcher_slots,
};

#endif
