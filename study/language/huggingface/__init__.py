"""Language models as transformers knows them, and what is read from and written for it."""
