"""Language models with adapters of peft: only the adapters are trained."""

import peft
import transformers

from .transformers import GROUPED, ids, mask


def adapted(config):
    def build():
        base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED))
        return peft.get_peft_model(base, config()), (), {"input_ids": ids(), "attention_mask": mask()}

    return "net(input_ids=, attention_mask=)", build


TARGETS = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
MODELS = {
    "LoRA": adapted(lambda: peft.LoraConfig(r=4, **TARGETS)),
    "DoRA": adapted(lambda: peft.LoraConfig(r=4, use_dora=True, **TARGETS)),
    "IA3": adapted(lambda: peft.IA3Config(feedforward_modules=[], **TARGETS)),
    "LoHa": adapted(lambda: peft.LoHaConfig(r=4, **TARGETS)),
    "OFT": adapted(lambda: peft.OFTConfig(r=0, oft_block_size=8, **TARGETS)),
    "prefix tuning": adapted(lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")),
}
