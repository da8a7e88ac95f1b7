"""Makes the files in `torch_files/` with the real torch, and what is in them by its own account.

  python tests/interop/make_torch_files.py

In an environment with torch (2.13 made those that are here); nothing else needs it.
"""

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "torch_files"


def mixed() -> dict[str, object]:
    """All types and all ways of looking into a storage."""
    floats = torch.arange(24, dtype=torch.float32) / 8
    return {
        "float32": floats.reshape(2, 3, 4),
        "transposed": floats.reshape(4, 6).t(),
        "every_other": floats[1::2],
        "corner": floats.reshape(4, 6)[1:3, 2:5],
        "scalar": floats[5],
        "expanded": torch.arange(3.0).expand(2, 3),
        "empty": torch.zeros(0, 4),
        "float16": (torch.arange(6) / 4).half(),
        "bfloat16": (torch.arange(6) / 3).bfloat16().reshape(2, 3),
        "float64": torch.arange(3, dtype=torch.float64) / 7,
        "int64": torch.arange(5) - 2,
        "int32": torch.arange(5, dtype=torch.int32) * 70_000,
        "int16": torch.arange(5, dtype=torch.int16) * -300,
        "int8": torch.arange(5, dtype=torch.int8) - 3,
        "uint8": torch.arange(250, 255, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "parameter": torch.nn.Parameter(torch.ones(2, 2) / 2),
        "shape": floats.reshape(2, 12).shape,
        "device": floats.device,
        "step": 3,
        "names": ["a", ("b", None), {4: 0.5}, 2**70],
    }


class Tied(torch.nn.Module):
    """Two layers of one weight, and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.decode = torch.nn.Linear(4, 5)
        self.decode.weight = self.embed.weight
        self.register_buffer("position_ids", torch.arange(6).expand(1, -1))


def main() -> None:
    torch.manual_seed(0)
    module = Tied()
    optimizer = torch.optim.AdamW(module.parameters())
    module.decode(module.embed(torch.arange(5))).sum().backward()
    optimizer.step()
    state = module.state_dict()
    training = {
        "epoch": 2,
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state()[:8],
        "model": state,
    }
    expected = {}
    for name, value in {"mixed": mixed(), "module": state, "training": training}.items():
        FOLDER.mkdir(exist_ok=True)
        for form in ("zip", "legacy"):
            torch.save(
                value,
                FOLDER / f"{name}_{form}.pt",
                _use_new_zipfile_serialization=form == "zip",
            )
        for key, tensor in (state if name == "training" else value).items():
            if isinstance(tensor, torch.Tensor):
                # numpy has no bfloat16 of its own.
                wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
                expected[f"{name}/{key}"] = wide.detach().numpy()
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
