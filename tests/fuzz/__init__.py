"""A fuzzer: classes of hostile inputs (`classes`), and what runs them (`runner`)."""
