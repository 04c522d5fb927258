/* How a recorder is read: plain values, detached from its memory. Nothing of it goes meanwhile (`reading`), as making
   values may run other code, and let other threads record. */

#ifndef NARRATIVE_READERS_H
#define NARRATIVE_READERS_H

#include "dump.h"
#include "recorder.h"

static int append(PyObject *list, PyObject *item) {
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return failed ? -1 : 0;
}

static Lane *lane_numbered(Recorder *recorder, PyObject *number) {
    unsigned long wanted = PyLong_AsUnsignedLong(number);
    if (wanted == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    for (Lane *lane = recorder->lanes; lane != NULL; lane = lane->next_of_owner)
        if (!lane->muted && lane->number == wanted)
            return lane;
    PyErr_Format(PyExc_LookupError, "there is no lane %lu", wanted);
    return NULL;
}

static int append_rows(PyObject *list, const Rows *rows) {
    for (RowChunk *chunk = rows->chunks; chunk != NULL; chunk = chunk->next)
        for (uint32_t at = 0; at < chunk->used; at++) {
            const Row row = chunk->rows[at];
            if (!row.calls && !row.total && !row.own && !row.raised)
                continue;
            PyObject *errors = PyDict_New();
            for (Failures *one = row.failures; errors != NULL && one != NULL; one = one->next) {
                PyObject *count = PyLong_FromUnsignedLongLong(one->count);
                if (count == NULL || PyDict_SetItem(errors, one->name, count) < 0)
                    Py_CLEAR(errors);
                Py_XDECREF(count);
            }
            if (errors == NULL)
                return -1;
            PyObject *item = Py_BuildValue(
                "(IIKKKKKKKN)", row.site, row.caller, (unsigned long long)row.calls, (unsigned long long)row.resumed,
                (unsigned long long)row.total, (unsigned long long)row.own, (unsigned long long)row.longest, (unsigned long long)row.raised,
                (unsigned long long)row.first, errors
            );
            if (append(list, item) < 0)
                return -1;
        }
    return 0;
}

static PyObject *recorder_rows(PyObject *self, PyObject *Py_UNUSED(none)) {
    Recorder *recorder = (Recorder *)self;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    recorder->reading++;
    int failed = append_rows(list, &recorder->retired);
    for (Lane *lane = recorder->lanes; lane != NULL && !failed; lane = lane->next_of_owner)
        failed = append_rows(list, &lane->rows);
    recorder->reading--;
    if (failed)
        Py_CLEAR(list);
    return list;
}

static int append_calls(PyObject *list, Queue *queue, unsigned long long *dropped) {
    *dropped += queue->dropped;
    Queue taken = *queue;
    memset(queue, 0, sizeof *queue);
    int failed = 0;
    for (uint32_t at = 0; at < taken.count && !failed; at++) {
        const Notable *call = &taken.calls[at];
        PyObject *error = call->error != NULL ? Py_NewRef(call->error) : PyUnicode_FromString("");
        failed = append(list, Py_BuildValue(
            "(IIIKKKNIK)", call->site, call->caller, call->lane, (unsigned long long)call->started,
            (unsigned long long)call->ended, (unsigned long long)call->running, error,
            call->caller_lane, (unsigned long long)call->caller_started
        ));
    }
    queue_clear(&taken);
    return failed;
}

static PyObject *recorder_take(PyObject *self, PyObject *Py_UNUSED(none)) {
    Recorder *recorder = (Recorder *)self;
    unsigned long long dropped = 0;
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return NULL;
    clock_adjust();
    box_beat();
    dump_keep();
    recorder->reading++;
    dropped += recorder->suspended.forgotten;
    recorder->suspended.forgotten = 0;
    int failed = append_calls(list, &recorder->retired_notable, &dropped);
    for (Lane *lane = recorder->lanes; lane != NULL && !failed; lane = lane->next_of_owner)
        failed = append_calls(list, &lane->notable, &dropped);
    recorder->reading--;
    if (failed) {
        Py_DECREF(list);
        return NULL;
    }
    return Py_BuildValue("(NK)", list, dropped);
}

static PyObject *recorder_running(PyObject *self, PyObject *Py_UNUSED(none)) {
    Recorder *recorder = (Recorder *)self;
    PyObject *list = PyList_New(0);
    int failed = list == NULL;
    recorder->reading++;
    for (Lane *lane = recorder->lanes; lane != NULL && !failed; lane = lane->next_of_owner) {
        if (lane->muted || atomic_load(&lane->ended))
            continue;
        for (uint32_t at = 1; at <= lane->top && !failed; at++) {
            const Entry entry = lane->stack[at], *caller = caller_of(lane, &entry, at - 1);
            failed = append(list, Py_BuildValue(
                "(IIKIIIK)", entry.site, entry_lane(&entry, lane), (unsigned long long)entry_started(&entry), at - 1,
                caller->site, entry_lane(caller, lane), (unsigned long long)entry_started(caller)
            ));
        }
    }
    const Suspended *table = &recorder->suspended;
    for (uint32_t at = 0; table->count && at <= table->mask && !failed; at++) {
        const Entry entry = table->slots[at];
        if (entry.frame != NULL && entry.row != NULL)
            failed = append(list, Py_BuildValue(
                "(IIKIIIK)", entry.site, entry.lane, (unsigned long long)entry.started, 0, entry.row->caller, 0, 0ull
            ));
    }
    recorder->reading--;
    if (failed)
        Py_CLEAR(list);
    return list;
}

static PyObject *recorder_lanes(PyObject *self, void *Py_UNUSED(closure)) {
    PyObject *list = PyList_New(0);
    ((Recorder *)self)->reading++;
    for (Lane *lane = ((Recorder *)self)->lanes; list != NULL && lane != NULL; lane = lane->next_of_owner)
        if (!lane->muted && append(list, PyLong_FromUnsignedLong(lane->number)) < 0)
            Py_CLEAR(list);
    ((Recorder *)self)->reading--;
    return list;
}

static PyObject *recorder_last_records(PyObject *self, PyObject *args) {
    PyObject *number;
    unsigned long long count;
    if (!PyArg_ParseTuple(args, "OK:last_records", &number, &count))
        return NULL;
    const Lane *lane = lane_numbered((Recorder *)self, number);
    PyObject *list = lane != NULL ? PyList_New(0) : NULL;
    if (list == NULL)
        return NULL;
    ((Recorder *)self)->reading++;
    uint64_t head = lane->head, kept = lane->mask + 1 < head ? lane->mask + 1 : head;
    for (uint64_t at = head - (count < kept ? count : kept); list != NULL && at < head; at++) {
        const Record record = lane->ring[at & lane->mask];
        PyObject *item = Py_BuildValue(
            "(KII)", (unsigned long long)record.time, (uint32_t)record.word, (uint32_t)(record.word >> 32)
        );
        if (append(list, item) < 0)
            Py_CLEAR(list);
    }
    ((Recorder *)self)->reading--;
    return list;
}

static PyObject *recorder_unwound(PyObject *self, PyObject *number) {
    const Lane *lane = lane_numbered((Recorder *)self, number);
    PyObject *list = lane != NULL ? PyList_New(0) : NULL;
    if (list == NULL)
        return NULL;
    ((Recorder *)self)->reading++;
    uint64_t end = lane->unwound_count, kept = end < UNWOUND_LIMIT ? end : UNWOUND_LIMIT;
    for (uint64_t at = end - kept; list != NULL && at < end; at++) {
        const Unwound one = lane->unwound[at % UNWOUND_LIMIT];
        PyObject *item = Py_BuildValue(
            "(KIKK)", (unsigned long long)one.identity, one.site, (unsigned long long)one.started,
            (unsigned long long)one.ended
        );
        if (append(list, item) < 0)
            Py_CLEAR(list);
    }
    ((Recorder *)self)->reading--;
    return list;
}

static PyObject *recorder_depth(PyObject *self, PyObject *number) {
    const Lane *lane = lane_numbered((Recorder *)self, number);
    return lane != NULL ? PyLong_FromUnsignedLong(lane->top) : NULL;
}

static PyObject *recorder_current_lane(PyObject *self, PyObject *Py_UNUSED(none)) {
    const Lane *lane = lane_find((Recorder *)self, 0);
    if (lane == NULL || lane->muted)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(lane->number);
}

static PyObject *recorder_records(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(all_records((Recorder *)self));
}

static PyObject *recorder_disordered(PyObject *self, void *Py_UNUSED(closure)) {
    uint64_t count = ((Recorder *)self)->retired_disordered;
    for (const Lane *lane = ((Recorder *)self)->lanes; lane != NULL; lane = lane->next_of_owner)
        count += lane->disordered;
    return PyLong_FromUnsignedLongLong(count);
}

static PyObject *sites_where(const Recorder *recorder, int (*holds)(const SiteState *)) {
    PyObject *list = PyList_New(0);
    for (uint32_t chunk = 0; list != NULL && chunk < recorder->chunk_count; chunk++)
        for (uint32_t at = 0; list != NULL && recorder->chunks[chunk] != NULL && at < SITES_PER_CHUNK; at++) {
            const SiteState *site = &recorder->chunks[chunk][at];
            if (holds(site) && append(list, PyLong_FromUnsignedLong(site->number)) < 0)
                Py_CLEAR(list);
        }
    return list;
}

static int site_is_released(const SiteState *site) { return site->silent == BY_GOVERNOR; }
static int site_is_sampled(const SiteState *site) { return site->sampled; }

static PyObject *recorder_released(PyObject *self, void *Py_UNUSED(closure)) {
    return sites_where((Recorder *)self, site_is_released);
}

static PyObject *recorder_sampled(PyObject *self, void *Py_UNUSED(closure)) {
    return sites_where((Recorder *)self, site_is_sampled);
}

static PyObject *recorder_is_empty(PyObject *self, void *Py_UNUSED(closure)) {
    for (const Lane *lane = ((Recorder *)self)->lanes; lane != NULL; lane = lane->next_of_owner)
        if (!lane->muted)
            Py_RETURN_FALSE;
    return PyBool_FromLong(((Recorder *)self)->retired_records == 0);
}

#endif
