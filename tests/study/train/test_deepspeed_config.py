"""What DeepSpeed is told, and that it listens."""

import pytest
import tiny_runs

from study.runs.execution import Execution
from study.train.deepspeed_config import check, configuration


def _config(zero, **changes):
    return configuration(
        tiny_runs.training(3),
        execution=Execution(ranks=2, zero=zero, **changes),
        width=tiny_runs.MODEL.d_model,
        parameters=31_000,
    )


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_every_key_is_read(zero):
    config = _config(zero)
    check(config)
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["zero_optimization"]["stage"] == zero


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_clipp1ng": 1.0}, "'gradient_clipp1ng'.*'gradient_clipping'"),
        ({"zero_optimisation": {"stage": 2}}, "'zero_optimisation'.*'zero_optimization'"),
        ({"zero_optimization": {"stage": 2, "reduce_bucket": 5}}, "'reduce_bucket'.*'reduce_buck"),
        ({"gradient_clipping": "auto"}, "gradient_clipping is 'auto'"),
        ({"zero_optimization": {"stage": "auto"}}, "stage is 'auto'"),
        ({"sparse_attention": {}}, "'sparse_attention', which DeepSpeed ignores"),
        ({"optimizer": {"type": "AdamW"}}, "'optimizer' are not checked"),
    ],
)
def test_a_key_that_deepspeed_would_pass_over_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        check(_config(2) | change)


def test_deepspeed_reads_the_values_as_they_were_meant():
    """Its own parser gives back what was written, and nothing of ours has another name there."""
    from deepspeed.runtime.config import DeepSpeedConfig

    read = DeepSpeedConfig(_config(3))
    assert read.gradient_clipping == tiny_runs.training(3).clip_norm
    assert read.managed_gradient_accumulation is False
    assert read.zero_config.stage == 3
    assert read.zero_config.param_persistence_threshold == 10 * tiny_runs.MODEL.d_model
    assert read.zero_config.reduce_bucket_size == 31_000
    assert read.zero_config.overlap_comm is False
    assert read.bfloat16_config.enabled is False
    assert read.torch_autocast_enabled is False
