/* The compiled recorder. `narrative_auto/recorder/native.py` is its face; `pure.py` its twin in Python.

   clock.h: the time; box.h: memory that outlives the process; totals.h: what is counted; lane.h: a thread's memory;
   suspended.h: calls that are in no thread; memory.h: all of it; governor.h: what is not recorded, to keep the budget;
   blocks.h and explicit.h: what the program opens and closes itself; describe.h: what the sites are; recorder.h: what a
   transition does; probe.h with patch.h and fill.h, and monitor.h with watched.h: how transitions come here, from
   rewritten code and from the interpreter; watcher.h: how we watch functions of libraries; readers.h: how it is all
   read; dump.h: a copy of the black box on a signal; nap.h: how our own thread sleeps; files.h: room for open files.
   This file: sites, threads, forks, the black box, and the module. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef Py_GIL_DISABLED
#error "the compiled recorder relies on the GIL; without it the one in Python serves"
#endif

static PyTypeObject *recorder_type;

#include "c/crumbs.h"
#include "c/explicit.h"
#include "c/files.h"
#include "c/fill.h"
#include "c/watcher.h"
#include "c/monitor.h"
#include "c/nap.h"
#include "c/readers.h"

static Recorder *box_owner; /* whose memory lies in the black box */

/* -- making and ending -- */

static int recorder_init(PyObject *self, PyObject *args, PyObject *keywords) {
    static char *names[] = {"min_duration", "wake", "budget", NULL};
    unsigned long long min_duration;
    PyObject *wake;
    double budget = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "KO|d:Recorder", names, &min_duration, &wake, &budget))
        return -1;
    Recorder *recorder = (Recorder *)self;
    recorder->min_duration = min_duration;
    recorder->budget = budget;
    governor_begin(recorder);
    PyObject *before = recorder->wake;
    recorder->wake = wake == Py_None ? NULL : Py_NewRef(wake);
    Py_XDECREF(before);
    return 0;
}

static int recorder_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Recorder *)self)->wake);
    Py_VISIT(((Recorder *)self)->described);
    Py_VISIT(((Recorder *)self)->innermost);
    return 0;
}

static int recorder_clear(PyObject *self) {
    Py_CLEAR(((Recorder *)self)->wake);
    Py_CLEAR(((Recorder *)self)->described);
    Py_CLEAR(((Recorder *)self)->innermost);
    return 0;
}

static void recorder_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Recorder *recorder = (Recorder *)self;
    PyObject_GC_UnTrack(self);
    recorder_clear(self);
    recorder_reap(recorder, 0);
    pthread_mutex_lock(&lanes_mutex);
    for (Lane *lane = recorder->lanes, *next; lane != NULL; lane = next) {
        next = lane->next_of_owner;
        lane->owner = NULL; /* its thread may use it for another recorder */
        if (atomic_load(&lane->ended)) {
            lane->next_of_owner = spare_lanes;
            spare_lanes = lane;
        }
    }
    pthread_mutex_unlock(&lanes_mutex);
    rows_clear(&recorder->retired);
    queue_clear(&recorder->retired_notable);
    if (!recorder->suspended.in_box)
        free(recorder->suspended.slots);
    else
        box_turn(recorder->suspended.slots, BLOCK_FREE);
    if (box_owner == recorder)
        box_owner = NULL;
    free(recorder->blocks.slots);
    free(recorder->last_blocks);
    for (uint32_t at = 0; at < recorder->chunk_count; at++)
        free(recorder->chunks[at]);
    free(recorder->chunks);
    type->tp_free(self);
    Py_DECREF(type);
}

/* -- sites -- */

static PyObject *recorder_silence(PyObject *self, PyObject *site) { return set_silent((Recorder *)self, site, 1); }
static PyObject *recorder_unsilence(PyObject *self, PyObject *site) { return set_silent((Recorder *)self, site, 0); }

static PyObject *recorder_note_all(PyObject *self, PyObject *site) {
    SiteState *state = state_of((Recorder *)self, site);
    if (state == NULL)
        return NULL;
    state->limit = 0;
    Py_RETURN_NONE;
}

/* -- threads and forks -- */

static PyObject *recorder_mute_thread(PyObject *self, PyObject *Py_UNUSED(none)) {
    Recorder *recorder = (Recorder *)self;
    recorder_reap(recorder, ENDED_KEPT);
    Lane *lane = lane_new(0); /* in front of the one that the thread may have had, whose records stay */
    if (lane == NULL)
        return PyErr_NoMemory();
    lane->owner = recorder;
    lane->muted = 1;
    lane->next_of_owner = recorder->lanes;
    recorder->lanes = current_lane = lane;
    Py_RETURN_NONE;
}

/* Python is about to fork, and our own thread is over. */
static PyObject *recorder_expect_fork(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none)) {
    python_forks = 1;
    Py_RETURN_NONE;
}

static PyObject *recorder_listen_again(PyObject *self, PyObject *Py_UNUSED(none)) {
    python_forks = 0;
    for (Lane *lane = ((Recorder *)self)->lanes; lane != NULL; lane = lane->next_of_owner)
        lane->listened = 0;
    Py_RETURN_NONE;
}

static void rows_zero(Rows *rows) {
    for (RowChunk *chunk = rows->chunks; chunk != NULL; chunk = chunk->next)
        for (uint32_t at = 0; at < chunk->used; at++) {
            Row *row = &chunk->rows[at];
            row->calls = row->total = row->own = row->longest = row->raised = row->resumed = row->held = 0;
            row->seen_stretches = row->seen_own = row->seen_held = 0;
            failures_clear(row->failures);
            row->failures = NULL;
        }
}

static int is_of_this_thread(const Lane *wanted) {
    const Lane *lane = lanes_of_thread;
    while (lane != NULL && lane != wanted)
        lane = lane->next_of_thread;
    return lane != NULL;
}

static PyObject *recorder_begin_child(PyObject *self, PyObject *Py_UNUSED(none)) {
    Recorder *recorder = (Recorder *)self;
    is_new_process = python_forks = 0;
    recorder->reading = 0; /* whoever was reading is in the parent */
    for (Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner) {
        if (!is_of_this_thread(lane)) {
            atomic_store(&lane->ended, 1); /* the other threads are the parent's */
            continue;
        }
        lane_names(lane);
        rows_zero(&lane->rows);
        queue_clear(&lane->notable);
        lane->head = lane->check_at = lane->unwound_count = lane->disordered = 0;
        lane->listened = 0;
        for (uint32_t at = 1; at <= lane->top; at++)
            lane->stack[at].row->calls++;
    }
    recorder_reap(recorder, 0);
    rows_zero(&recorder->retired);
    queue_clear(&recorder->retired_notable);
    recorder->retired_records = recorder->retired_disordered = recorder->suspended.forgotten = 0;
    for (uint32_t chunk = 0; chunk < recorder->chunk_count; chunk++)
        for (uint32_t at = 0; recorder->chunks[chunk] != NULL && at < SITES_PER_CHUNK; at++)
            recorder->chunks[chunk][at].sampled = 0;
    governor_begin(recorder);
    Py_RETURN_NONE;
}

/* -- the black box -- */

static PyObject *recorder_open_box(PyObject *self, PyObject *args) {
    Recorder *recorder = (Recorder *)self;
    const char *folder, *path, *identity;
    Py_ssize_t size;
    PyObject *described;
    if (!PyArg_ParseTuple(args, "yyy#O!:open_box", &folder, &path, &identity, &size, &PyList_Type, &described))
        return NULL;
    if (!HAS_BOX || (box_owner != NULL && box_owner != recorder)) {
        PyErr_SetString(PyExc_RuntimeError, HAS_BOX ? "this process has a black box" : "there is none on this platform");
        return NULL;
    }
    char *folder_copy = strdup(folder), *path_copy = strdup(path);
    if (folder_copy == NULL || path_copy == NULL) {
        free(folder_copy);
        free(path_copy);
        return PyErr_NoMemory();
    }
    free(the_box.folder);
    free(the_box.path);
    the_box.folder = folder_copy;
    the_box.path = path_copy;
    the_box.header.identity_size = (uint32_t)(size < (Py_ssize_t)BOX_IDENTITY ? size : 0);
    memcpy(the_box.header.identity, identity, the_box.header.identity_size);
    the_box.is_wanted = 1;
    the_box.fault = 0;
    box_owner = recorder;
    recorder->suspended.boxed = 1;
    Py_XSETREF(recorder->described, Py_NewRef(described));
    for (Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
        lane->check_at = 0; /* it opens the box when it records next */
    Py_RETURN_NONE;
}

static PyObject *recorder_use_clock(PyObject *Py_UNUSED(self), PyObject *wanted) {
    clock_use(!is_kind(wanted, "kernel"), is_kind(wanted, "counter"));
    Py_RETURN_NONE;
}

static PyObject *recorder_clock(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure)) {
    return PyUnicode_FromString(the_clock.trusted ? "counter" : "kernel");
}

static PyObject *recorder_close_box(PyObject *self, PyObject *Py_UNUSED(none)) {
    if (box_owner == (Recorder *)self)
        box_close();
    Py_RETURN_NONE;
}

/* (whether there is a file, why there is none or no more of it: errno). */
static PyObject *recorder_box(PyObject *self, void *Py_UNUSED(closure)) {
    int is_mine = box_owner == (Recorder *)self;
    return Py_BuildValue("(Oi)", is_mine && the_box.is_file ? Py_True : Py_False, is_mine ? the_box.fault : 0);
}

static PyObject *recorder_untraced(PyObject *Py_UNUSED(self), PyObject *function) {
    return called_untraced(function, NULL);
}

/* -- the type and the module -- */

static PyMethodDef recorder_methods[] = {
    {"probes", recorder_probes, METH_VARARGS, NULL},
    {"fill", recorder_fill, METH_VARARGS, NULL},
    {"silence", recorder_silence, METH_O, NULL},
    {"unsilence", recorder_unsilence, METH_O, NULL},
    {"note_all", recorder_note_all, METH_O, NULL},
    {"follow", recorder_follow, METH_O, NULL},
    {"enter_block", (PyCFunction)(void (*)(void))recorder_enter_block, METH_FASTCALL, NULL},
    {"leave_block", (PyCFunction)(void (*)(void))recorder_leave_block, METH_FASTCALL, NULL},
    {"suspend_block", recorder_suspend_block, METH_O, NULL},
    {"resume_block", recorder_resume_block, METH_O, NULL},
    {"keep_crumb", recorder_keep_crumb, METH_O, NULL},
    {"rows", recorder_rows, METH_NOARGS, NULL},
    {"take", recorder_take, METH_NOARGS, NULL},
    {"running", recorder_running, METH_NOARGS, NULL},
    {"last_records", recorder_last_records, METH_VARARGS, NULL},
    {"unwound", recorder_unwound, METH_O, NULL},
    {"depth", recorder_depth, METH_O, NULL},
    {"current_lane", recorder_current_lane, METH_NOARGS, NULL},
    {"mute_thread", recorder_mute_thread, METH_NOARGS, NULL},
    {"expect_fork", recorder_expect_fork, METH_NOARGS, NULL},
    {"listen_again", recorder_listen_again, METH_NOARGS, NULL},
    {"begin_child", recorder_begin_child, METH_NOARGS, NULL},
    {"untraced", recorder_untraced, METH_O, NULL},
    {"lacks_files", files_lack, METH_NOARGS, NULL},
    {"more_files", files_more, METH_NOARGS, NULL},
    {"fewer_files", files_fewer, METH_NOARGS, NULL},
    {"use_clock", recorder_use_clock, METH_O, NULL},
    {"open_box", recorder_open_box, METH_VARARGS, NULL},
    {"dump_on", recorder_dump_on, METH_VARARGS, NULL},
    {"handler_of", recorder_handler_of, METH_O, NULL},
    {"close_box", recorder_close_box, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef recorder_properties[] = {
    {"lanes", recorder_lanes, NULL, NULL, NULL},
    {"records", recorder_records, NULL, NULL, NULL},
    {"disordered", recorder_disordered, NULL, NULL, NULL},
    {"released", recorder_released, NULL, NULL, NULL},
    {"sampled", recorder_sampled, NULL, NULL, NULL},
    {"is_empty", recorder_is_empty, NULL, NULL, NULL},
    {"box", recorder_box, NULL, NULL, NULL},
    {"clock", recorder_clock, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot recorder_slots[] = {
    {Py_tp_doc, "Recorder(min_duration, wake, budget=0)\n--\n\nThe memory of a recorder; see native.py."},
    {Py_tp_init, recorder_init},
    {Py_tp_traverse, recorder_traverse},
    {Py_tp_clear, recorder_clear},
    {Py_tp_dealloc, recorder_dealloc},
    {Py_tp_methods, recorder_methods},
    {Py_tp_getset, recorder_properties},
    {0, NULL},
};

static PyType_Spec recorder_spec = {
    .name = "narrative_auto.recorder._native.Recorder",
    .basicsize = sizeof(Recorder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = recorder_slots,
};

static void before_fork(void) {
    nap_before_fork();
    pthread_mutex_lock(&lanes_mutex);
    box_before_fork();
}

static void after_fork_in_parent(void) {
    box_in_parent();
    pthread_mutex_unlock(&lanes_mutex);
    nap_in_parent();
}

static void after_fork_in_child(void) {
    nap_in_child();
    files_give_back();
    pthread_mutex_init(&lanes_mutex, NULL);
    if (!box_in_child()) { /* the lanes are the parent's: we begin anew */
        current_lane = lanes_of_thread = spare_lanes = lanes_block = NULL;
        lanes_used = LANES_PER_BLOCK;
        the_crumbs.slots = NULL;
        pthread_setspecific(thread_key, NULL);
        if (box_owner != NULL) {
            box_owner->lanes = NULL;
            box_owner->descriptions.block = NULL;
            box_owner->suspended.slots = NULL;
            box_owner->suspended.mask = box_owner->suspended.count = box_owner->suspended.in_box = 0;
        }
    }
    is_new_process = 1;
    for (Lane *lane = lanes_of_thread; lane != NULL; lane = lane->next_of_thread)
        lane->head = lane->check_at = 0;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
    *type = (PyTypeObject *)PyType_FromSpec(spec);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "narrative_auto.recorder._native", "The compiled recorder.", -1, NULL, NULL, NULL, NULL, NULL,
};

/* Of one phase, with a state for the whole process: a sub-interpreter that asks for its own GIL is refused by the
   interpreter, and no other one ever starts a recorder (launch/bootstrap.py). */
PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    clock_use(1, 0);
    around_name = PyUnicode_InternFromString("around");
    if (around_name == NULL || pthread_key_create(&thread_key, thread_ended) != 0
        || pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
        Py_DECREF(module);
        return PyErr_NoMemory();
    }
    int failed = add_type(module, &probe_spec, &probe_type) < 0 || probe_types_make() < 0
        || add_type(module, &recorder_spec, &recorder_type) < 0 || add_type(module, &nap_spec, &nap_type) < 0
        || add_type(module, &watcher_spec, &watcher_type) < 0;
#if PY_VERSION_HEX >= 0x030c0000
    watched_slot = PyUnstable_Eval_RequestCodeExtraIndex(watched_free);
    failed = failed || watched_slot < 0 || add_type(module, &monitor_spec, &monitor_type) < 0;
#endif
    if (failed)
        Py_CLEAR(module);
    return module;
}
