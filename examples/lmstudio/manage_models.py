"""What could be loaded, what is, and how: load, describe, unload."""

import lmstrix.lmstudio as lms

for downloaded in lms.list_downloaded_models():
    print(downloaded.type, downloaded.model_key, downloaded.path)

client = lms.get_default_client()
model = client.llm.load_new_instance(
    "llama-3.2-1b-instruct",
    "my-special-model",
    ttl=60,
    config=lms.LlmLoadModelConfig(context_length=1024),
    on_load_progress=lambda done: print(f"loading: {done:.0%}"),
)
print(model.get_info().identifier, model.get_context_length(), model.get_load_config())
print([loaded.identifier for loaded in lms.list_loaded_models("llm")])

model.unload()
print([loaded.identifier for loaded in lms.list_loaded_models("llm")])
