"""The model catalog: the schema, media parameters, rules and prices of each model.

Here belongs everything that depends on a model. Nothing here sends a request.
"""
