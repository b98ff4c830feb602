"""The program ``nnunet_ext``: one small class per sub-command."""
