// Suppression within every class of one image at once, on the CPU.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <queue>
#include <vector>

namespace soft_nms {

// One class's boxes that are left, the arrays side by side.
struct Candidates {
    std::vector<int> rows;
    std::vector<float> scores, x1, y1, x2, y2, kept;
    float shift;
    int best;

    void find_best() {
        best = 0;
        for (int i = 1; i < (int)rows.size(); i++)
            if (scores[i] > scores[best]) best = i;
    }

    // The shifted corners are stored before anything is computed from them: the compiler would cancel the shift.
    void measure(const float* boxes) {
        const int number = rows.size();
        for (auto* corner : {&x1, &y1, &x2, &y2}) corner->resize(number);
        for (int i = 0; i < number; i++) {
            const float* box = boxes + (int64_t)rows[i] * 4;
            x1[i] = box[0] + shift, y1[i] = box[1] + shift, x2[i] = box[2] + shift, y2[i] = box[3] + shift;
        }
    }

    // Take the best one out and weaken or drop the others.
    void suppress(bool soft, float iou, float sigma, float least) {
        const int number = rows.size();
        const float left = x1[best], top = y1[best], right = x2[best], bottom = y2[best];
        const float area = (right - left) * (bottom - top);
        kept.resize(number);
        for (int i = 0; i < number; i++) {
            const float width = std::max(std::min(right, x2[i]) - std::max(left, x1[i]), 0.0f);
            const float height = std::max(std::min(bottom, y2[i]) - std::max(top, y1[i]), 0.0f);
            const float common = width * height;
            const float all = area + (x2[i] - x1[i]) * (y2[i] - y1[i]) - common;
            const float overlap = common > 0 ? common / all : 0.0f;
            kept[i] = soft ? scores[i] * std::exp(-(overlap * overlap) / sigma) : common > iou * all ? -1.0f : 1.0f;
        }
        int to = 0;
        for (int i = 0; i < number; i++) {
            if (i == best || kept[i] < (soft ? least : 0.0f)) continue;
            rows[to] = rows[i], x1[to] = x1[i], y1[to] = y1[i], x2[to] = x2[i], y2[to] = y2[i];
            scores[to] = soft ? kept[i] : scores[i];
            to++;
        }
        rows.resize(to), scores.resize(to);
        find_best();
    }
};

struct ClassBest {
    float score;
    int64_t pair;
    int label;
};
inline bool operator<(const ClassBest& a, const ClassBest& b) {
    return a.score != b.score ? a.score < b.score : a.pair > b.pair;
}

// boxes (number,4), scores (number,classes) -> rows, labels, picks (most), count (1); the numbers are those of the
// module's text: a score above `threshold` makes a candidate, `split` is split_threshold, `least` min_score. The last
// three are working memory of the GPU.
inline void pick(const float* boxes, const float* scores, int64_t number, int64_t classes, float threshold, bool soft,
                 float iou, float sigma, float least, float split, int64_t most, int32_t* rows, int32_t* labels,
                 float* picks, int32_t* count, float* /*live*/, int32_t* /*best*/, int32_t* /*totals*/) {
    const int64_t block = 16;
    std::vector<Candidates> of_class(classes);
    std::vector<char> used(number, 0);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < classes; first += block)
        for (int64_t n = 0; n < number; n++)
            for (int64_t c = first; c < std::min(first + block, classes); c++) {
                const float score = scores[n * classes + c];
                if (!(score > threshold)) continue;
                of_class[c].rows.push_back(n);
                of_class[c].scores.push_back(score);
                used[n] = 1;
            }
    float reach = 0;
    for (int64_t n = 0; n < number; n++)
        if (used[n]) reach = std::max(reach, *std::max_element(boxes + n * 4, boxes + n * 4 + 4));
    int64_t total = 0;
    std::priority_queue<ClassBest> queue;
    for (int64_t c = 0; c < classes; c++) {
        Candidates& own = of_class[c];
        own.shift = c * (reach + 1.0f);
        total += own.rows.size();
        if (own.rows.empty()) continue;
        own.find_best();
        queue.push({own.scores[own.best], own.rows[own.best] * classes + c, (int)c});
    }
    const bool together = soft && total < split;
    int64_t picked = 0;
    while (picked < most && !queue.empty()) {
        const ClassBest next = queue.top();
        queue.pop();
        if (together && picked && next.score < least) break;
        Candidates& own = of_class[next.label];
        rows[picked] = own.rows[own.best], labels[picked] = next.label, picks[picked] = next.score;
        picked++;
        if (own.x1.empty()) own.measure(boxes);
        own.suppress(soft, iou, sigma, least);
        if (!own.rows.empty())
            queue.push({own.scores[own.best], own.rows[own.best] * classes + next.label, next.label});
    }
    for (int64_t k = picked; k < most; k++) rows[k] = labels[k] = -1, picks[k] = 0;
    *count = picked;
}

}  // namespace soft_nms
