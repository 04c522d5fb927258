/* A constant of a library function that we watch: asked for its truth value, it calls a function of ours with the frame
   that asks, and is true. */

#ifndef NARRATIVE_FRAME_PROBE_H
#define NARRATIVE_FRAME_PROBE_H

#include "recorder.h"

typedef struct {
    PyObject_HEAD
    PyObject *meet;
} FrameProbe;

static PyTypeObject *frame_probe_type;

static PyObject *frame_probe_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    PyObject *meet;
    if (!PyArg_ParseTuple(args, "O:FrameProbe", &meet))
        return NULL;
    FrameProbe *self = (FrameProbe *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->meet = Py_NewRef(meet);
    return (PyObject *)self;
}

static void frame_probe_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((FrameProbe *)self)->meet);
    type->tp_free(self);
    Py_DECREF(type);
}

static int frame_probe_bool(PyObject *self) {
    PyObject *frame = (PyObject *)PyEval_GetFrame();
    if (frame == NULL)
        return PyErr_Occurred() != NULL ? -1 : 1;
    PyObject *result = called_untraced(((FrameProbe *)self)->meet, frame);
    Py_XDECREF(result);
    return result != NULL ? 1 : -1;
}

static PyType_Slot frame_probe_slots[] = {
    {Py_tp_new, frame_probe_new},
    {Py_tp_dealloc, frame_probe_dealloc},
    {Py_nb_bool, frame_probe_bool},
    {0, NULL},
};

static PyType_Spec frame_probe_spec = {
    .name = "narrative_auto.recorder._native.FrameProbe",
    .basicsize = sizeof(FrameProbe),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = frame_probe_slots,
};

#endif
