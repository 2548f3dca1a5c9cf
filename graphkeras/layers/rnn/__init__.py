"""Recurrent layers: cells compute one step, layers loop over the steps."""
