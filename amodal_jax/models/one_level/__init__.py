"""What networks have in common that see one level of features at stride 16 and vote on their masks: FCIS and MNC."""
