"""What the paper prints, as data: costs and claims, accuracies and the recipes' targets."""
