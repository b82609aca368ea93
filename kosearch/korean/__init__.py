"""Korean text: morphemes for search by word, and what people type instead of what they mean."""
