"""Pretrained networks that families start from. Knows no family.

The weights lie beside the code, in half precision, with a .json of the same name that says where they come from.
"""
