"""What a person sees in a notebook: magics, cards, the panel."""
