"""Bandwidths and peaks of accelerators, with their sources. Those marked † are assumed."""

from bert_jax.training.throughput import PEAK_FLOPS
from experiments.scaling.model import Hardware, Links

# † What a pass takes beside its arithmetic and the update: launches and small kernels. A trial of
# a step of BERT-base's size on one H100, T = 128, reached 36, 38, 42 and 42 % of the peak with 128,
# 256, 512 and 1,024 rows; an MFU of 43 % and 2 ms give these to 5 %. Taken for all devices.
FIXED_SECONDS = 2e-3
MFU = 0.43

# The most that XLA's GPU compiler puts into one all-reduce: kDefaultAllReduceCombineThreshold in
# xla/service/collective_utils.h. † Taken for TPUs too.
MESSAGE_BYTES = 30 * 2**20

# The largest that LAMB was shown with, by length of rows (You et al. 2019), and the paper's.
LARGEST_BATCH = {128: 65_536, 512: 32_768}
PAPER_BATCH = 256

# NCCL's own model (src/graph/tuning.cc, hwLat of rings, protocol Simple), seconds a message.
_NVLINK_LATENCY, _INFINIBAND_LATENCY = 3.4e-6, 9.6e-6
# † No source found: of the order that is said of a hop, and of TCP in a data centre.
_ICI_LATENCY, _DCN_LATENCY = 1e-6, 20e-6

DEVICES = {
    # DGX H100. Memory: NVIDIA's data sheet of the SXM board, from memory. NVLink: 450 GB/s each
    # way, of which rings get 370 (NCCL's author, nccl-tests issue 212). A card of 400 Gb/s a GPU,
    # which gives 46 to 48 GB/s (nccl-tests issue 290).
    "h100": Hardware(
        name="H100, nodes of 8",
        peak_flops=PEAK_FLOPS["NVIDIA H100"],
        memory=80e9,
        memory_bandwidth=3.35e12,
        group=8,
        inside=Links(bandwidth=370e9, latency=_NVLINK_LATENCY),
        between=Links(bandwidth=47e9, latency=_INFINIBAND_LATENCY, by_halves=True),
        devices_per_host=8,
        fixed_seconds=FIXED_SECONDS,
    ),
    # DGX A100 80 GB. NVLink: NCCL's model takes at most 235 GB/s. Memory and a card of 200 Gb/s a
    # GPU: NVIDIA's data sheet, from memory; † the card gives the H100's share of that.
    "a100": Hardware(
        name="A100, nodes of 8",
        peak_flops=PEAK_FLOPS["NVIDIA A100"],
        memory=80e9,
        memory_bandwidth=2.04e12,
        group=8,
        inside=Links(bandwidth=235e9, latency=_NVLINK_LATENCY),
        between=Links(bandwidth=23.5e9, latency=_INFINIBAND_LATENCY, by_halves=True),
        devices_per_host=8,
        fixed_seconds=FIXED_SECONDS,
    ),
    # docs.cloud.google.com/tpu/docs/v5e: pods of 256 with 51.2 TB/s of all-reduce and 6.4 Tb/s of
    # data-center network, so 200 and 3.1 GB/s a chip; 16 GB at 819 GB/s; hosts of 8. Parts of a
    # pod have open ends and get less: not modelled.
    "v5e": Hardware(
        name="TPU v5e, pods of 256",
        peak_flops=PEAK_FLOPS["TPU v5e"],
        memory=16e9,
        memory_bandwidth=819e9,
        group=256,
        inside=Links(bandwidth=200e9, latency=_ICI_LATENCY, dimensions=2),
        between=Links(bandwidth=3.1e9, latency=_DCN_LATENCY, by_halves=True),
        devices_per_host=8,
        fixed_seconds=FIXED_SECONDS,
    ),
    # docs.cloud.google.com/tpu/docs/v4: pods of 4,096 with 1.1 PB/s of all-reduce, so 268 GB/s a
    # chip; 32 GiB at 1,200 GB/s. Hosts of 4, and 25 GB/s between hosts (jax-ml/scaling-book,
    # tpus.md, which also has 6 links of 45 GB/s).
    "v4": Hardware(
        name="TPU v4, pods of 4,096",
        peak_flops=PEAK_FLOPS["TPU v4"],
        memory=32 * 2**30,
        memory_bandwidth=1.2e12,
        group=4096,
        inside=Links(bandwidth=268e9, latency=_ICI_LATENCY, dimensions=3),
        between=Links(bandwidth=6.25e9, latency=_DCN_LATENCY, by_halves=True),
        devices_per_host=4,
        fixed_seconds=FIXED_SECONDS,
    ),
}
