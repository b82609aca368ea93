"""What a person reads about a model: report, model card, tables, leaks."""
