"""What a user writes: checked, completed, and cut into what each job may see."""
