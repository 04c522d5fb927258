/* Callbacks for `sys.monitoring` (PEP 669): what the interpreter calls at the transitions of code that it watches. */

#ifndef NARRATIVE_MONITOR_H
#define NARRATIVE_MONITOR_H

#include "watched.h"
#include <structmember.h>

#if PY_VERSION_HEX >= 0x030c0000

static inline int offset_of(PyObject *offset) { return (int)PyLong_AsLong(offset); }

static inline PyObject *done(int failed) { return failed < 0 ? NULL : Py_NewRef(Py_None); }

/* A code object that was not met before. */
static __attribute__((noinline)) PyObject *monitor_meets(Monitor *self, PyObject *code, PyObject *offset) {
    if (is_nothing_new(self, (PyCodeObject *)code))
        return Py_NewRef(self->disable);
    PyObject *names = PyEval_GetGlobals();
    PyObject *answer = PyObject_CallFunctionObjArgs(self->meet, code, names != NULL ? names : Py_None, NULL);
    if (answer == NULL)
        return NULL;
    Watched *watched = watched_of(self, code);
    if (watched != NULL && watched->state != NULL) {
        if (watched->entry < 0)
            watched->entry = offset_of(offset);
        if (!watched->state->silent && on_start(watched->state, frame_here(), watched->state->suspends) < 0)
            Py_CLEAR(answer);
    }
    return answer;
}

static PyObject *monitor_started(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    Monitor *monitor = (Monitor *)self;
    Watched *watched = watched_of(monitor, args[0]);
    if (UNLIKELY(watched == NULL || watched->state == NULL || watched->entry < 0))
        return monitor_meets(monitor, args[0], args[1]);
    if (UNLIKELY(watched->state->silent))
        return Py_NewRef(monitor->disable);
    return done(on_start(watched->state, frame_here(), watched->state->suspends));
}

/* What a code object reports to; NULL for nothing. */
static inline const SiteState *state_at(PyObject *self, PyObject *code) {
    const Watched *watched = watched_of((Monitor *)self, code);
    return watched != NULL ? watched->state : NULL;
}

static inline PyObject *disable(PyObject *self) { return Py_NewRef(((Monitor *)self)->disable); }

static PyObject *monitor_returned(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    const SiteState *state = state_at(self, args[0]);
    if (UNLIKELY(state == NULL || state->silent))
        return state != NULL ? disable(self) : Py_NewRef(Py_None);
    return done(on_return(state, frame_here(), state->suspends));
}

static PyObject *monitor_yielded(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    const SiteState *state = state_at(self, args[0]);
    if (UNLIKELY(state != NULL && state->silent))
        return disable(self);
    if (LIKELY(state != NULL && state->suspends))
        on_yield(state, frame_here());
    Py_RETURN_NONE;
}

static PyObject *monitor_resumed(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    const SiteState *state = state_at(self, args[0]);
    if (UNLIKELY(state != NULL && state->silent))
        return disable(self);
    if (LIKELY(state != NULL && state->suspends))
        on_resume(state, frame_here());
    Py_RETURN_NONE;
}

static PyObject *monitor_thrown(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    const Watched *watched = watched_of((Monitor *)self, args[0]);
    if (watched != NULL && watched->state != NULL && watched->state->suspends && !watched->state->silent
        && watched->entry >= 0 && offset_of(args[1]) > watched->entry)
        on_resume(watched->state, frame_here());
    Py_RETURN_NONE;
}

static PyObject *monitor_unwound(PyObject *self, PyObject *const *args, Py_ssize_t Py_UNUSED(count)) {
    const Monitor *monitor = (Monitor *)self;
    const Watched *watched = watched_of(monitor, args[0]);
    if (LIKELY(watched == NULL))
        Py_RETURN_NONE;
    if (watched->unwinding != NULL) {
        PyObject *unwinding = Py_NewRef(watched->unwinding);
        int answer = PyObject_RichCompareBool(unwinding, args[2], Py_EQ);
        Py_DECREF(unwinding);
        if (answer < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    /* An exception at or before the instruction that reports START leaves a call that never began. */
    if (watched->state != NULL && !watched->state->silent && watched->entry >= 0
        && offset_of(args[1]) > watched->entry - 1 + monitor->before)
        return done(on_unwind(watched->state, frame_here(), (uint64_t)(uintptr_t)args[2], Py_TYPE(args[2])));
    Py_RETURN_NONE;
}

static PyObject *monitor_watch(PyObject *self, PyObject *args) {
    PyObject *code, *site;
    if (!PyArg_ParseTuple(args, "O!O:watch", &PyCode_Type, &code, &site))
        return NULL;
    Monitor *monitor = (Monitor *)self;
    SiteState *state = described((Recorder *)monitor->recorder, site);
    if (state == NULL || monitor_keep(monitor, code, state, site, NULL) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *monitor_watch_unwinding(PyObject *self, PyObject *args) {
    PyObject *code, *unwinding;
    if (!PyArg_ParseTuple(args, "O!O:watch_unwinding", &PyCode_Type, &code, &unwinding))
        return NULL;
    if (monitor_keep((Monitor *)self, code, NULL, NULL, unwinding) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *monitor_silence(PyObject *self, PyObject *site) {
    return set_silent((Recorder *)((Monitor *)self)->recorder, site, 1);
}

static PyObject *monitor_unsilence(PyObject *self, PyObject *site) {
    return set_silent((Recorder *)((Monitor *)self)->recorder, site, 0);
}

static PyObject *monitor_forget(PyObject *self, PyObject *code) {
    if (PyCode_Check(code) && watched_of((Monitor *)self, code) != NULL
        && PyUnstable_Code_SetExtra(code, watched_slot, NULL) < 0) /* it frees what was there */
        return NULL;
    Py_RETURN_NONE;
}

static int monitor_traverse(PyObject *self, visitproc visit, void *arg) {
    Monitor *monitor = (Monitor *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(monitor->recorder);
    Py_VISIT(monitor->disable);
    Py_VISIT(monitor->meet);
    Py_VISIT(monitor->foreign);
    Py_VISIT(monitor->arm);
    Py_VISIT(monitor->tool);
    Py_VISIT(monitor->events);
    return 0;
}

static int monitor_clear(PyObject *self) {
    Monitor *monitor = (Monitor *)self;
    Py_CLEAR(monitor->recorder);
    Py_CLEAR(monitor->disable);
    Py_CLEAR(monitor->meet);
    Py_CLEAR(monitor->foreign);
    Py_CLEAR(monitor->arm);
    Py_CLEAR(monitor->tool);
    Py_CLEAR(monitor->events);
    return 0;
}

static void monitor_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    monitor_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *monitor_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    PyObject *recorder, *meet, *disable, *foreign;
    int before;
    if (!PyArg_ParseTuple(args, "O!OOO!p:Monitor", recorder_type, &recorder, &meet, &disable, &PySet_Type, &foreign, &before))
        return NULL;
    Monitor *monitor = (Monitor *)type->tp_alloc(type, 0);
    if (monitor == NULL)
        return NULL;
    monitor->recorder = Py_NewRef(recorder);
    monitor->meet = Py_NewRef(meet);
    monitor->disable = Py_NewRef(disable);
    monitor->foreign = Py_NewRef(foreign);
    monitor->before = before;
    monitor->meets_modules = 1;
    monitor->serial = ++monitors;
    return (PyObject *)monitor;
}

#define CALLBACK(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef monitor_methods[] = {
    {"started", CALLBACK(monitor_started), METH_FASTCALL, "started(code, offset)\n--\n\nFor PY_START."},
    {"returned", CALLBACK(monitor_returned), METH_FASTCALL, "returned(code, offset, value)\n--\n\nFor PY_RETURN."},
    {"yielded", CALLBACK(monitor_yielded), METH_FASTCALL, "yielded(code, offset, value)\n--\n\nFor PY_YIELD."},
    {"resumed", CALLBACK(monitor_resumed), METH_FASTCALL, "resumed(code, offset)\n--\n\nFor PY_RESUME."},
    {"thrown", CALLBACK(monitor_thrown), METH_FASTCALL, "thrown(code, offset, error)\n--\n\nFor PY_THROW."},
    {"unwound", CALLBACK(monitor_unwound), METH_FASTCALL, "unwound(code, offset, error)\n--\n\nFor PY_UNWIND."},
    {"watch", monitor_watch, METH_VARARGS, "watch(code, site)\n--\n\nLet a code object report at a site."},
    {"watch_unwinding", monitor_watch_unwinding, METH_VARARGS,
     "watch_unwinding(code, told)\n--\n\nCompare `told` with what leaves a code object by exception."},
    {"silence", monitor_silence, METH_O, "silence(site)\n--\n\nLet what is watched at a site report nothing."},
    {"unsilence", monitor_unsilence, METH_O, "unsilence(site)\n--\n\nLet it report again."},
    {"attend", monitor_attend, METH_VARARGS,
     "attend(arm, tool, events)\n--\n\nCall arm(tool, code, events) for the code of new functions; return whether it can be."},
    {"rest", monitor_rest, METH_NOARGS, "rest()\n--\n\nAttend to no new function any more."},
    {"forget", monitor_forget, METH_O, "forget(code)\n--\n\nLet a code object report nothing."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef monitor_members[] = {
    {"meets_modules", T_BOOL, offsetof(Monitor, meets_modules), 0, "whether the body of a module may be news"},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot monitor_slots[] = {
    {Py_tp_doc, "Monitor(recorder, meet, disable, foreign, before)\n--\n\nCallbacks for sys.monitoring."},
    {Py_tp_new, monitor_new},
    {Py_tp_traverse, monitor_traverse},
    {Py_tp_clear, monitor_clear},
    {Py_tp_dealloc, monitor_dealloc},
    {Py_tp_methods, monitor_methods},
    {Py_tp_members, monitor_members},
    {0, NULL},
};

static PyType_Spec monitor_spec = {
    .name = "narrative_auto.recorder._native.Monitor",
    .basicsize = sizeof(Monitor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = monitor_slots,
};

#endif
#endif
