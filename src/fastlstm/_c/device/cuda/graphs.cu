/* CUDA graphs. To start steps one by one takes the processor longer than a small network takes on the device. Work that
 * is repeated with the same arguments, as in training with the same arrays, is recorded as a graph the second time, and
 * from then on started in one call. */
#include "device/cuda/context.h"

#include <algorithm>
#include <string.h>
#include <vector>

struct recorded {
    std::vector<char> key;
    cudaGraphExec_t graph;
    uint64_t used; /* the time `now` of its last start */
};
struct fl_cuda_graphs {
    std::vector<recorded> all;
    std::vector<uint64_t> seen;     /* hashes of the latest keys that have come once */
    uint64_t now;                   /* counts starts and recordings */
    cudaStream_t recording, before; /* the stream that records, and the one that it replaces meanwhile */
    bool broken;                    /* set by a failure, after which nothing more is recorded */
};

static uint64_t hash_of(const void *key, size_t bytes) { /* FNV-1a, word by word */
    uint64_t hash = 14695981039346656037u, word;
    for (size_t at = 0; at + sizeof(word) <= bytes; at += sizeof(word)) {
        memcpy(&word, (const char *)key + at, sizeof(word));
        hash = (hash ^ word) * 1099511628211u;
    }
    return hash;
}

int fl_cuda_replay(const void *key, size_t bytes) {
    fl_cuda_graphs *own = fl_cuda_own()->graphs;
    if (!own || own->all.empty() || fl_cuda_failed() || fl_cuda_captured()) return 0;
    for (recorded &one : own->all)
        if (one.key.size() == bytes && !memcmp(one.key.data(), key, bytes)) {
            one.used = ++own->now;
            fl_cuda_check(cudaGraphLaunch(one.graph, fl_cuda_stream()));
            return 1;
        }
    return 0;
}

static std::vector<recorded>::iterator oldest_of(fl_cuda_graphs *own) {
    return std::min_element(own->all.begin(), own->all.end(),
                            [](const recorded &a, const recorded &b) { return a.used < b.used; });
}

int fl_cuda_begin_record(const void *key, size_t bytes) {
    fl_cuda_belongings *belongings = fl_cuda_own();
    if (!belongings->graphs) belongings->graphs = new fl_cuda_graphs();
    fl_cuda_graphs *own = belongings->graphs;
    const uint64_t hash = hash_of(key, bytes);
    const auto found = std::find(own->seen.begin(), own->seen.end(), hash);
    if (found == own->seen.end()) {
        if (own->seen.size() == FL_SEEN_PROGRAMS) own->seen.erase(own->seen.begin());
        own->seen.push_back(hash);
        return 0;
    }
    own->now++;
    /* Nothing is recorded while the caller records a graph of its own. Not every stream can be captured, so a stream of
     * its own does the recording. */
    if (own->broken || fl_cuda_failed() || fl_cuda_captured()) return 0;
    if (own->all.size() == FL_GRAPHS && own->now - oldest_of(own)->used < FL_GRAPH_LONG_UNUSED) return 0;
    if (!own->recording && cudaStreamCreateWithFlags(&own->recording, cudaStreamNonBlocking) != cudaSuccess)
        own->recording = NULL;
    if (!own->recording || cudaStreamBeginCapture(own->recording, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
        (void)cudaGetLastError();
        own->broken = true;
        return 0;
    }
    own->before = fl_cuda_stream();
    fl_cuda_set_stream(own->recording);
    return 1;
}

int fl_cuda_end_record(const void *key, size_t bytes) {
    fl_cuda_graphs *own = fl_cuda_own()->graphs;
    cudaGraph_t graph = NULL;
    recorded made = {{}, NULL, ++own->now};
    fl_cuda_set_stream(own->before);
    const bool ok = cudaStreamEndCapture(own->recording, &graph) == cudaSuccess && graph &&
                    cudaGraphInstantiate(&made.graph, graph, 0) == cudaSuccess;
    if (graph) (void)cudaGraphDestroy(graph);
    if (!ok || fl_cuda_failed()) {
        if (made.graph) (void)cudaGraphExecDestroy(made.graph);
        fl_cuda_forgive();
        own->broken = true;
        return 0;
    }
    made.key.assign((const char *)key, (const char *)key + bytes);
    if (own->all.size() == FL_GRAPHS) {
        const auto oldest = oldest_of(own);
        (void)cudaGraphExecDestroy(oldest->graph);
        own->all.erase(oldest);
    }
    own->all.push_back(made);
    fl_cuda_check(cudaGraphLaunch(made.graph, fl_cuda_stream()));
    return 1;
}

void fl_cuda_destroy_graphs(fl_cuda_belongings *belongings) {
    fl_cuda_graphs *own = belongings->graphs;
    if (!own) return;
    for (recorded &one : own->all) (void)cudaGraphExecDestroy(one.graph);
    if (own->recording) (void)cudaStreamDestroy(own->recording);
    delete own;
}
