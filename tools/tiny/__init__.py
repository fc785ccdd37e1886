"""Makes the models that LMStrix ships, from generated text only."""
