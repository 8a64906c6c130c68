"""`finetune padding-study`: does padding change time or outcome?"""
