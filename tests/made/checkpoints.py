"""Tiny random checkpoints in Hugging Face's format, and a tokenizer for them, for tests."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from study.language.data.tokenizer import train
from study.language.huggingface.auto import pretrained
from study.language.huggingface.export import write_tokenizer
from study.language.huggingface.t5 import export_t5
from study.language.model.build import build
from study.language.values.model import Model

TEXTS = [
    "a masterpiece of film , moving and funny from its first scene to its last",
    "the plot is dull and the acting is worse : nothing to see here at all",
    "Is this review positive or negative? It is good, it is bad, yes or no.",
    "the rock is destined to be the 21st century's new conan and that he's going to make a splash",
    "simplistic, silly and tedious; it's so laddish and juvenile, only teenage boys would like it",
] * 8


def foreign_tokenizer(directory, *, marks=False):
    """A byte-level BPE whose special tokens lie where the study's never do. marks: it puts a
    beginning (and, for an encoder, an end) of sequence around what it reads, as Llama's and BART's
    do.
    """
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<unk>", "<mask>", "<|end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fast.train_from_iterator(TEXTS, trainer=trainer)
    names = {"eos_token": "<|end|>", "unk_token": "<unk>"}
    if marks:
        names["bos_token"] = "<s>"
        single = "<s> $A <|end|>" if marks == "both" else "<s> $A"
        fast.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 0), ("<|end|>", 3)]
        )
    PreTrainedTokenizerFast(tokenizer_object=fast, **names).save_pretrained(directory)
    return fast.get_vocab_size()


def foreign(directory, kind):
    """A tiny random checkpoint of another project's architecture, with its tokenizer."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    marks = {"llama": True, "bart": "both"}.get(kind, False)
    size = foreign_tokenizer(directory, marks=marks)
    ids = {"bos_token_id": 0 if marks else 3, "eos_token_id": 3, "pad_token_id": 1}
    match kind:
        case "gpt_neox":
            config = transformers.GPTNeoXConfig(
                vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                intermediate_size=64, max_position_embeddings=96, **ids,
            )  # fmt: skip
        case "gpt2":
            config = transformers.GPT2Config(
                vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=96, **ids
            )
        case "llama":
            config = transformers.LlamaConfig(
                vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, intermediate_size=64, max_position_embeddings=96, **ids,
            )  # fmt: skip
        case "bart":
            config = transformers.BartConfig(
                vocab_size=size, d_model=32, encoder_layers=2, decoder_layers=2,
                encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
                decoder_ffn_dim=64, max_position_embeddings=96, decoder_start_token_id=3,
                forced_eos_token_id=None, **ids,
            )  # fmt: skip
        case "t5":  # the first T5, with ReLU: not the project's own encoder-decoder
            config = transformers.T5Config(
                vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                feed_forward_proj="relu", decoder_start_token_id=1, n_positions=96, **ids,
            )  # fmt: skip
    torch.manual_seed(5)
    auto = (
        transformers.AutoModelForSeq2SeqLM
        if kind in ("bart", "t5")
        else transformers.AutoModelForCausalLM
    )
    model = auto.from_config(config)
    with torch.no_grad():
        # Beginnings this small predict almost the same for every text, and would hide a mistake.
        for each in model.parameters():
            if each.ndim > 1:
                each.mul_(2.0 if kind == "t5" else 6.0)
    model.save_pretrained(directory)
    return directory


def ours(directory, *, architecture):
    """An export of the study: a decoder in its own format, or an encoder-decoder as a T5."""
    directory = Path(directory)
    tokenizer = train(TEXTS, vocab_size=330, sentinels=4)
    shape = Model(
        architecture=architecture,
        mixer="attention",
        positions="t5_bias" if architecture == "encoder_decoder" else "rope",
        layers=2,
        d_model=32,
        heads=4,
        d_head=8,
        d_ff=64,
        vocab_size=tokenizer.vocab_size,
        # lm-eval ties every T5's embeddings after loading, an untied one's too
        tied=architecture == "encoder_decoder",
    )
    model = build(shape, dropout=0.0, seed=3).eval()
    directory.mkdir(parents=True, exist_ok=True)
    if architecture == "encoder_decoder":
        export_t5(model, directory)
    else:
        pretrained(model).save_pretrained(directory)
    tokenizer.save(directory / "tokenizer.json")
    write_tokenizer(directory / "tokenizer.json", directory)
    return directory
