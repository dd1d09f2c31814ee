"""PyTorch on R1 (bench/job.h), written from its definition: the same models, losses, optimizer and sizes, f32 throughout.

What it does in its favour: the teacher runs without autograd, its weights converted to f32 once (f16 products on a CPU
are far slower in PyTorch 1.13); fused qkv and gate-up matrices; rotary tables made once; tokens of an expert are
gathered by index and come back by one index_add; the KL at tau 2 and the cross-entropy share the student's logits; nothing is
copied to be logged; memory is freed by references, gradients to None; AdamW in its multi-tensor form.
--experts bmm pads all experts to the largest load and multiplies in batches; --experts loop (default) goes through them, one
product each over its own tokens.  --contiguous yes copies attention's operands first.  --kl soft: cross-entropy with soft targets less the teacher's entropy,
instead of kl_div.  --teacher f16 is the naive form.
"""
import argparse
import json
import math
import os
import platform
import statistics
import sys
import time

import torch
import torch.nn.functional as F

V, T, B = 8192, 256, 8
N = T * B


class Rope:
    def __init__(self, head_dim, theta=10000.0):
        angle = torch.arange(T)[:, None] / theta ** (torch.arange(0, head_dim, 2) / head_dim)
        self.cos, self.sin = torch.cat([angle.cos()] * 2, -1), torch.cat([-angle.sin(), angle.sin()], -1)
        self.half = head_dim // 2

    def __call__(self, x):  # [B, heads, T, head_dim]
        return torch.addcmul(x * self.cos, torch.cat([x[..., self.half:], x[..., :self.half]], -1), self.sin)


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def parameters(rows, columns, std=0.02):
    return torch.randn(rows, columns) * std


class Attention:
    def __init__(self, width, heads, kv_heads, contiguous):
        self.heads, self.kv_heads, self.head_dim, self.contiguous = heads, kv_heads, width // heads, contiguous
        self.norm = torch.ones(width)
        self.qkv = parameters((heads + 2 * kv_heads) * self.head_dim, width)
        self.out = parameters(width, heads * self.head_dim)
        self.rope = Rope(self.head_dim)
        self.mask = torch.full((T, T), -math.inf).triu(1)

    def weights(self):
        return [self.norm, self.qkv, self.out]

    def __call__(self, x):
        q, k, v = F.linear(norm(x, self.norm), self.qkv).split([n * self.head_dim for n in (self.heads, self.kv_heads, self.kv_heads)], -1)
        q, k, v = (a.view(B, T, -1, self.head_dim).transpose(1, 2) for a in (q, k, v))
        q, k = self.rope(q), self.rope(k)
        if self.kv_heads != self.heads:
            k, v = (a.repeat_interleave(self.heads // self.kv_heads, 1) for a in (k, v))
        if self.contiguous:
            q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        q, k, v = (a.reshape(B * self.heads, T, self.head_dim) for a in (q, k, v))
        scores = torch.baddbmm(self.mask.to(q.dtype), q, k.transpose(1, 2), alpha=self.head_dim ** -0.5)
        o = torch.bmm(scores.softmax(-1), v).view(B, self.heads, T, self.head_dim).transpose(1, 2).reshape(N, -1)
        return x + F.linear(o, self.out)


class Dense:
    def __init__(self, width, inner):
        self.norm, self.gate_up, self.down = torch.ones(width), parameters(2 * inner, width), parameters(width, inner)

    def weights(self):
        return [self.norm, self.gate_up, self.down]

    def __call__(self, x):
        gate, up = F.linear(norm(x, self.norm), self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Mixture:
    """8 experts, top 2, renormalised; balance (Fedus 2021) and z-loss (Zoph 2022) of the router in f32."""

    def __init__(self, width, inner, experts, k, batched):
        self.experts, self.k, self.batched = experts, k, batched
        self.norm, self.router = torch.ones(width), parameters(experts, width)
        self.gate_up, self.down = torch.randn(experts, 2 * inner, width) * 0.02, torch.randn(experts, width, inner) * 0.02

    def weights(self):
        return [self.norm, self.router, self.gate_up, self.down]

    def expert(self, e, x):
        gate, up = F.linear(x, self.gate_up[e]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, self.down[e])

    def loop(self, h, token, weight, load):
        rows = h.index_select(0, token).split(load)
        y = torch.cat([self.expert(e, rows[e]) for e in range(self.experts)])
        return torch.zeros_like(h).index_add(0, token, y * weight[:, None])

    def padded(self, h, token, weight, load):
        most, start = max(load), [sum(load[:e]) for e in range(self.experts)]
        place = torch.cat([torch.arange(n) + e * most for e, n in enumerate(load)])
        x = h.new_zeros(self.experts * most, h.shape[1]).index_copy(0, place, h.index_select(0, token))
        gate, up = torch.bmm(x.view(self.experts, most, -1), self.gate_up.transpose(1, 2)).chunk(2, -1)
        y = torch.bmm(F.silu(gate) * up, self.down.transpose(1, 2)).view(self.experts * most, -1).index_select(0, place)
        return torch.zeros_like(h).index_add(0, token, y * weight[:, None])

    def __call__(self, x):
        h = norm(x, self.norm)
        scores = F.linear(h, self.router)
        p = scores.softmax(-1)
        weight, expert = p.topk(self.k, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        order = expert.view(-1).argsort()
        load = torch.bincount(expert.view(-1), minlength=self.experts)
        y = (self.padded if self.batched else self.loop)(h, order // self.k, weight.view(-1)[order], load.tolist())
        self.balance = self.experts * (load / (N * self.k) * p.mean(0)).sum()
        self.z = scores.logsumexp(-1).pow(2).mean()
        return x + y


class Model:
    def __init__(self, width, layers, heads, kv_heads, ffn, contiguous):
        self.embedding, self.head, self.final = parameters(V, width), parameters(V, width), torch.ones(width)
        self.layers = [layer for _ in range(layers) for layer in (Attention(width, heads, kv_heads, contiguous), ffn())]

    def weights(self):
        return [self.embedding, self.head, self.final] + [w for layer in self.layers for w in layer.weights()]

    def __call__(self, ids):
        x = F.embedding(ids, self.embedding)
        for layer in self.layers:
            x = layer(x)
        return F.linear(norm(x, self.final), self.head)


def cast(model, dtype):
    for o in [model] + model.layers:
        for key, value in vars(o).items():
            if torch.is_tensor(value) and value.is_floating_point():
                setattr(o, key, value.to(dtype))
        if hasattr(o, "rope"):
            o.rope.cos, o.rope.sin = o.rope.cos.to(dtype), o.rope.sin.to(dtype)


class Job:
    def __init__(self, o):
        torch.manual_seed(1)
        self.teacher = Model(512, 8, 8, 8, lambda: Dense(512, 1408), o.contiguous)
        cast(self.teacher, torch.float16)  # what the files hold
        if o.teacher == "f32":
            cast(self.teacher, torch.float32)
        self.student = Model(256, 4, 8, 4, lambda: Mixture(256, 512, 8, 2, o.experts == "bmm"), o.contiguous)
        for w in self.student.weights():
            w.requires_grad_(True)
        matrices = [w for w in self.student.weights() if w.dim() > 1]
        vectors = [w for w in self.student.weights() if w.dim() == 1]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                           lr=1e-3, betas=(0.9, 0.95), eps=1e-8, foreach=o.foreach)
        self.tokens = torch.randint(V, (64, T + 1))
        self.at, self.kl = 0, o.kl

    def divergence(self, log_p, z):
        if self.kl == "kl_div":
            return F.kl_div(F.log_softmax(z, -1), log_p, reduction="sum", log_target=True)
        with torch.no_grad():
            p = log_p.exp()
            entropy = torch.dot(p.view(-1), log_p.view(-1))
        return F.cross_entropy(z, p, reduction="sum") + entropy

    def step(self):
        windows = self.tokens[torch.arange(self.at, self.at + B) % 64]
        self.at += B
        ids, targets = windows[:, :-1].reshape(-1), windows[:, 1:].reshape(-1)
        with torch.no_grad():  # inference_mode saves nothing measurable, and what it returns would have to be copied for autograd
            p = F.log_softmax(self.teacher(ids).float() / 2, -1)
        z = self.student(ids)
        kl = self.divergence(p, z / 2) * 4 / N
        mixtures = self.student.layers[1::2]
        loss = 0.7 * kl + 0.3 * F.cross_entropy(z, targets)
        loss = loss + sum(0.01 * m.balance + 0.001 * m.z for m in mixtures) / len(mixtures)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.weights(), 1.0)
        self.optimizer.step()
        return float(loss)


def peak_mib():
    with open("/proc/self/status") as f:
        return next(float(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))


def product_rate():
    """The yardstick's two shapes by this library's own products: how fast it multiplies when nothing else is to be done."""
    pairs = [(torch.randn(2048, 512), torch.randn(1408, 512)), (torch.randn(2048, 256), torch.randn(8192, 256))]
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        for x, w in pairs:
            F.linear(x, w)
        seconds.append(time.perf_counter() - start)
    return sum(2 * x.shape[0] * x.shape[1] * w.shape[0] for x, w in pairs) / statistics.median(seconds[1:]) * 1e-9


def record(o, name, unit, x, rate, seconds=None, cpu_seconds=None, gflops=None):
    x = sorted(x)
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    r = {"name": "peers.pytorch." + name, "value": statistics.median(x), "unit": unit, "median": statistics.median(x), "min": x[0], "max": x[-1], "samples": len(x)}
    if seconds:
        r["seconds"], r["cpu_seconds"], r["gflops"] = seconds, cpu_seconds, gflops
    r.update({"product_rate": rate, "cpu": cpu, "threads": torch.get_num_threads(),
              "libraries": {"PyTorch": torch.__version__, "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "")},
              "revision": o.revision, "quick": o.quick})
    print("%-44s %10.4g %-9s %10.4g %10.4g" % (r["name"], r["value"], unit, x[0], x[-1]), flush=True)
    if o.out:
        with open(o.out, "a") as f:
            f.write(json.dumps(r) + "\n")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--samples", type=int, default=0)
    a.add_argument("--quick", action="store_true")
    a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a.add_argument("--experts", choices=["loop", "bmm"], default="loop")
    a.add_argument("--teacher", choices=["f32", "f16"], default="f32")
    a.add_argument("--contiguous", choices=["yes", "no"], default="no")
    a.add_argument("--kl", choices=["kl_div", "soft"], default="kl_div")
    a.add_argument("--foreach", choices=["yes", "no"], default="yes")
    a.add_argument("--revision", default="unknown")
    a.add_argument("--out", default="")
    o = a.parse_args()
    o.contiguous, o.foreach = o.contiguous == "yes", o.foreach == "yes"
    torch.set_num_threads(o.threads)
    job, seconds, cpu, shares, rates = Job(o), [], [], [], []
    flop = N * (2 * (8 * (4 * 512 * 512 + 3 * 512 * 1408) + 512 * V) + 6 * (4 * (256 * 512 + 256 * 256 + 256 * 8 + 2 * 3 * 256 * 512) + 256 * V))
    for _ in range(1 if o.quick else 2):
        job.step()
    peak = peak_mib()
    for _ in range(o.samples or (1 if o.quick else 9)):
        before, start, own = product_rate(), time.perf_counter(), time.process_time()
        loss = job.step()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - own)
        rates.append((before + product_rate()) / 2)
        shares.append(100 * flop / seconds[-1] * 1e-9 / rates[-1])
    middle, rate = statistics.median(seconds), statistics.median(rates)
    if not math.isfinite(loss):
        sys.exit("pytorch_r1: the loss is not finite")
    record(o, "r1.step", "% own product rate", shares, rate, middle, statistics.median(cpu), flop / middle * 1e-9)
    record(o, "r1.tokens", "tokens/s", [N / s for s in seconds], rate)
    record(o, "r1.memory", "MiB", [peak], rate)


if __name__ == "__main__":
    main()
